// SPDX-License-Identifier: MIT
//
// Signal libraries for `bench graph`: the same graphs as in graph_shape.c.
//
//     node --expose-gc graph_signals.mjs alien_signals|preact_signals CASE
//
// A line on standard input asks for a round, one row of JSON answers. Status 3: the library cannot do
// the case (its stack overflows); 1: wrong values.
import fs from 'node:fs';

const [system, name] = process.argv.slice(2);
const ROUND_NS = 50e6;
const WARM_NS = 200e6; // until the compiler has settled
const WAVE_PARTS = 100;

// --- the libraries ---------------------------------------------------------

async function load() {
    if (system === 'alien_signals') {
        const { signal, computed, effect, startBatch, endBatch } = await import('alien-signals');
        return {
            signal, computed, effect,
            read: (node) => node(),
            write: (node, value) => { node(value); },
            batch: (run) => { startBatch(); run(); endBatch(); },
        };
    }
    const { signal, computed, effect, batch } = await import('@preact/signals-core');
    return {
        signal, computed, effect, batch,
        read: (node) => node.value,
        write: (node, value) => { node.value = value; },
    };
}

// --- the graphs: nodes in topological order --------------------------------

function graph() {
    return { nodes: [], sources: [], plan: 'one', writes: 1, units: 1 };
}

function add(g, kind, reads = [], k = 0) {
    g.nodes.push({ kind, reads, k });
    if (kind === 'source') g.sources.push(g.nodes.length - 1);
    return g.nodes.length - 1;
}

function chain(size, avoid = false) {
    const g = graph();
    let last = add(g, 'source');
    if (avoid) last = add(g, 'zero', [last]);
    for (let i = 0; i < size; i++) last = add(g, 'add', [last], 1);
    add(g, 'effect', [last]);
    g.units = avoid ? 1 : size;
    return g;
}

function broad(size) {
    const g = graph();
    const source = add(g, 'source');
    for (let i = 0; i < size; i++) add(g, 'effect', [add(g, 'add', [source], i)]);
    g.units = size;
    return g;
}

// Nothing runs that no effect reads, so the last layer always has one.
function grid(width, layers, inputs, sparse = false) {
    const g = graph();
    let before = 0;
    for (let i = 0; i < width; i++) add(g, 'source');
    for (let layer = 0; layer < layers; layer++) {
        const first = g.nodes.length;
        for (let i = 0; i < width; i++)
            add(g, 'sum', Array.from({ length: inputs }, (_, j) => before + (i + j) % width));
        before = first;
    }
    add(g, 'effect', Array.from({ length: width }, (_, i) => before + i));
    g.units = width * layers;
    g.plan = 'all';
    g.writes = width;
    if (sparse) {
        g.plan = 'turn';
        g.writes = 1;
        g.units = 0;
        for (let layer = 1; layer <= layers; layer++) g.units += layer * (inputs - 1) + 1;
    }
    return g;
}

function diamond(size) {
    const g = graph();
    const source = add(g, 'source');
    const middle = Array.from({ length: size }, () => add(g, 'add', [source], 1));
    add(g, 'effect', [add(g, 'sum', middle)]);
    return g;
}

function mux(size) {
    const g = graph();
    const heads = Array.from({ length: size }, () => add(g, 'source'));
    const sum = add(g, 'sum', heads);
    for (const head of heads)
        add(g, 'effect', [add(g, 'add', [add(g, 'first', [head, sum])], 1)]);
    g.plan = 'turn';
    return g;
}

function flip(size) {
    const g = graph();
    const selector = add(g, 'source');
    for (let i = 0; i < 2 * size; i++) add(g, 'source');
    for (let i = 0; i < size; i++)
        add(g, 'effect', [add(g, 'select', [selector, selector + 1 + 2 * i, selector + 2 + 2 * i])]);
    g.plan = 'flip';
    g.units = size;
    return g;
}

function triples(size, wave) {
    const g = graph();
    for (let i = 0; i < size; i++) add(g, 'effect', [add(g, 'add', [add(g, 'source')], 1)]);
    for (let i = size - 1; i > 0; i--) {
        const other = Math.floor(Math.random() * (i + 1));
        [g.sources[i], g.sources[other]] = [g.sources[other], g.sources[i]];
    }
    g.plan = 'turn';
    g.writes = size / WAVE_PARTS;
    g.units = wave ? g.writes : size;
    return g;
}

const cases = {
    chain_1000: ['ns/node', () => chain(1000)],
    chain_10000: ['ns/node', () => chain(10000)],
    chain_1000000: ['ns/node', () => chain(1000000)],
    broad_1000: ['ns/pair', () => broad(1000)],
    broad_100000: ['ns/pair', () => broad(100000)],
    grid_1000x11x4_full: ['ns/node', () => grid(1000, 11, 4)],
    grid_1000x11x4_sparse: ['ns/node run', () => grid(1000, 11, 4, true)],
    grid_1000x4x25_full: ['ns/node', () => grid(1000, 4, 25)],
    grid_5x499x3_full: ['ns/node', () => grid(5, 499, 3)],
    avoid_1000: ['ns/write', () => chain(1000, true)],
    diamond_5: ['ns/write', () => diamond(5)],
    mux_100: ['ns/write', () => mux(100)],
    flip_1000: ['ns/rebind', () => flip(1000)],
    create_1m: ['ns/triple', () => triples(1000000, false), 'build'],
    create_1m_bytes: ['bytes/triple', () => triples(1000000, false), 'bytes'],
    wave_1pct_of_1m: ['ns/pair', () => triples(1000000, true)],
};

// The j-th write of a step: [node, value]. 32-bit values, as sums wrap there.
function valueOf(g, step, j) {
    if (g.plan === 'one') return step;
    if (g.plan === 'flip') return step & 1;
    if (g.plan === 'all') return (step * 7 + j * 3 + 1) | 0;
    return Math.imul(step, 7919) & 0xfffff;
}

function placeOf(g, step, j) {
    return g.plan === 'turn' ? (step * g.writes) % g.sources.length + j : j;
}

function evaluate(g, values) {
    g.nodes.forEach(({ kind, reads, k }, i) => {
        if (kind === 'source') return;
        if (kind === 'zero') values[i] = 0;
        else if (kind === 'first') values[i] = values[reads[0]];
        else if (kind === 'select') values[i] = values[reads[values[reads[0]] & 1 ? 1 : 2]];
        else values[i] = reads.reduce((sum, read) => (sum + values[read]) | 0, k);
    });
}

// --- one graph in a library ------------------------------------------------

// What an effect saw is kept in `saw`. Computeds are read once as they are made, so that the first
// effect does not have to go down a whole chain by recursion.
function build(lib, g, warm) {
    const { signal, computed, effect, read } = lib;
    const made = new Array(g.nodes.length);
    const saw = new Int32Array(g.nodes.length);
    const kinds = {
        source: (reads, k, i) => signal(-1 - i),
        add: ([a], k) => computed(() => (read(a) + k) | 0),
        zero: ([a]) => computed(() => read(a) * 0),
        sum: (reads) => computed(() => {
            let sum = 0;
            for (let j = 0; j < reads.length; j++) sum = (sum + read(reads[j])) | 0;
            return sum;
        }),
        select: ([a, b, c]) => computed(() => (read(a) & 1 ? read(b) : read(c))),
        first: ([a, b]) => computed(() => { const value = read(a); read(b); return value; }),
        effect: (reads, k, i) => effect(reads.length === 1
            ? () => { saw[i] = read(reads[0]); }
            : () => {
                let sum = 0;
                for (let j = 0; j < reads.length; j++) sum = (sum + read(reads[j])) | 0;
                saw[i] = sum;
            }),
    };
    for (let i = 0; i < made.length; i++) {
        const { kind, reads, k } = g.nodes[i];
        made[i] = kinds[kind](reads.map((of) => made[of]), k, i);
        if (warm && kind !== 'source' && kind !== 'effect') read(made[i]);
    }
    return { made, saw, sources: g.sources.map((i) => made[i]) };
}

function check(lib, g, built, values) {
    evaluate(g, values);
    for (let i = 0; i < g.nodes.length; i++) {
        const got = g.nodes[i].kind === 'effect' ? built.saw[i] : lib.read(built.made[i]);
        if (got === values[i]) continue;
        console.error(`graph_signals: ${system}: ${name}: WRONG: node ${i} is ${got}, not ${values[i]}`);
        process.exit(1);
    }
}

function cpuNs() {
    const { user, system: kernel } = process.cpuUsage();
    return (user + kernel) * 1000;
}

class Steps {
    constructor(lib, g) {
        this.lib = lib;
        this.g = g;
        this.values = new Int32Array(g.nodes.length);
        for (const i of g.sources) this.values[i] = -1 - i;
        this.built = build(lib, g, true);
        this.step = 0;
        const { write } = lib;
        const { sources } = this.built;
        this.writeAll = () => {
            const place = placeOf(g, this.step, 0);
            for (let j = 0; j < g.writes; j++) write(sources[place + j], valueOf(g, this.step, j));
        };
        this.n = this.calibrate();
    }

    run(n) {
        const begin = cpuNs();
        for (let i = 0; i < n; i++) {
            this.step++;
            if (this.g.writes === 1) this.writeAll();
            else this.lib.batch(this.writeAll);
        }
        const took = cpuNs() - begin;
        for (let step = this.step - n + 1; step <= this.step; step++)
            for (let j = 0; j < this.g.writes; j++)
                this.values[this.g.sources[placeOf(this.g, step, j)]] = valueOf(this.g, step, j);
        return took;
    }

    calibrate() {
        let n = 1, all = 0, took = 0;
        for (; all < WARM_NS || took < ROUND_NS / 5; all += took, n *= 2) took = this.run(n);
        return Math.ceil(n / 2 * ROUND_NS / took);
    }

    round() {
        const took = this.run(this.n);
        check(this.lib, this.g, this.built, this.values);
        return took / this.n / this.g.units;
    }
}

function heldBytes() {
    globalThis.gc();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
}

// The arrays of the benchmark itself are there before and after.
function roundOfBuild(lib, g, measure) {
    const values = new Int32Array(g.nodes.length);
    for (const i of g.sources) values[i] = -1 - i;
    if (measure === 'build') {
        globalThis.gc(); // what the round before left
        const begin = cpuNs();
        const built = build(lib, g, false);
        const took = cpuNs() - begin;
        check(lib, g, built, values);
        return took / g.units;
    }
    const before = heldBytes();
    const built = build(lib, g, false);
    const own = (built.made.length + built.sources.length) * 8 + built.saw.byteLength;
    const held = heldBytes() - before - own;
    check(lib, g, built, values);
    return held / g.units;
}

// --- rounds ----------------------------------------------------------------

function asked() {
    const byte = Buffer.alloc(1);
    for (;;) {
        if (fs.readSync(0, byte, 0, 1) === 0) return false;
        if (byte[0] === 10) return true;
    }
}

const lib = await load();
const [unit, shape, measure] = cases[name];
const g = shape();
let steps;
try {
    while (asked()) {
        steps ??= measure ? null : new Steps(lib, g);
        const value = steps ? steps.round() : roundOfBuild(lib, g, measure);
        const row = { bench: 'graph', case: name, system, value, unit, low: value, high: value, rounds: 1 };
        fs.writeSync(1, JSON.stringify(row) + '\n');
    }
} catch (error) {
    if (!(error instanceof RangeError)) throw error;
    console.error(`graph_signals: ${system} cannot do ${name}: ${error.message}`);
    process.exit(3);
}
