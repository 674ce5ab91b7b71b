/* SPDX-License-Identifier: MIT */
/*
 * oneTBB for `bench graph`: the grids whose sources are all written, as a flow graph with one node
 * for each computed, and as a parallel loop for each layer.
 *
 *     graph_tbb tbb_flow|tbb_for CASE WIDTH LAYERS INPUTS BODY_NS BURN THREADS
 *
 * A line on standard input asks for a round, one row of JSON answers. Both run everything whatever
 * changed: they have no cutoff and no dirty set.
 */
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/flow_graph.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include "bench/graph_body.h"

namespace
{

using flow_node = tbb::flow::continue_node<tbb::flow::continue_msg>;

constexpr double round_ns = 50e6;
constexpr unsigned steps_min = 5;

struct shape {
    uint32_t width, layers, inputs;
    unsigned body_ns, burn;
};

/* The values of all layers, the sources' first. */
class grid
{
  public:
    explicit grid(const shape &s) : shape_(s), values_(size_t(s.width) * (s.layers + 1))
    {
    }

    void
    write(uint64_t step)
    {
        for (uint32_t i = 0; i < shape_.width; i++)
            values_[i] = graph_value_of_all(step, i);
    }

    void
    run(uint32_t layer, uint32_t i)
    {
        const int64_t *before = &values_[size_t(layer - 1) * shape_.width];
        int64_t sum = 0;
        for (uint32_t j = 0, at = i; j < shape_.inputs; j++, at++) {
            if (at >= shape_.width)
                at -= shape_.width;
            sum = graph_add(sum, before[at]);
        }
        values_[size_t(layer) * shape_.width + i] = graph_burn(sum, shape_.burn);
    }

    bool
    same(const grid &other) const
    {
        return values_ == other.values_;
    }

  private:
    const shape shape_;
    std::vector<int64_t> values_;
};

class engine
{
  public:
    virtual ~engine() = default;
    virtual void step(uint64_t step) = 0;
};

class flow_engine : public engine
{
  public:
    flow_engine(const shape &s, grid &g) : grid_(g), start_(flow_)
    {
        for (uint32_t layer = 1; layer <= s.layers; layer++)
            for (uint32_t i = 0; i < s.width; i++)
                add(s, layer, i);
    }

    void
    step(uint64_t step) override
    {
        grid_.write(step);
        start_.try_put(tbb::flow::continue_msg());
        flow_.wait_for_all();
    }

  private:
    void
    add(const shape &s, uint32_t layer, uint32_t i)
    {
        nodes_.push_back(std::make_unique<flow_node>(
            flow_, [this, layer, i](const tbb::flow::continue_msg &) { grid_.run(layer, i); }));
        if (layer == 1) {
            tbb::flow::make_edge(start_, *nodes_.back());
            return;
        }
        for (uint32_t j = 0; j < s.inputs; j++)
            tbb::flow::make_edge(*nodes_[size_t(layer - 2) * s.width + (i + j) % s.width],
                                 *nodes_.back());
    }

    grid &grid_;
    tbb::flow::graph flow_;
    tbb::flow::broadcast_node<tbb::flow::continue_msg> start_;
    std::vector<std::unique_ptr<flow_node>> nodes_;
};

class for_engine : public engine
{
  public:
    for_engine(const shape &s, grid &g) : shape_(s), grid_(g)
    {
    }

    void
    step(uint64_t step) override
    {
        grid_.write(step);
        for (uint32_t layer = 1; layer <= shape_.layers; layer++)
            tbb::parallel_for(tbb::blocked_range<uint32_t>(0, shape_.width),
                              [this, layer](const tbb::blocked_range<uint32_t> &range) {
                                  for (uint32_t i = range.begin(); i < range.end(); i++)
                                      grid_.run(layer, i);
                              });
    }

  private:
    const shape shape_;
    grid &grid_;
};

class rounds
{
  public:
    rounds(engine &e, const shape &s) : engine_(e), units_(double(s.width) * s.layers)
    {
    }

    void
    calibrate()
    {
        unsigned n = 1;
        double took = 0;
        for (; took < round_ns / 5; n *= 4) {
            took = 0;
            for (unsigned i = 0; i < n; i++)
                took += one();
        }
        times_.resize(std::max(steps_min, unsigned(n / 4 * round_ns / took) + 1));
    }

    /* The median of the steps; the mean is kept beside it. */
    double
    round()
    {
        double sum = 0;
        for (double &time : times_)
            sum += time = one();
        std::sort(times_.begin(), times_.end());
        mean = sum / double(times_.size()) / units_;
        return times_[times_.size() / 2] / units_;
    }

    uint64_t steps = 0;
    double mean = 0;

  private:
    double
    one()
    {
        double begin = graph_clock_ns(CLOCK_MONOTONIC);
        engine_.step(++steps);
        return graph_clock_ns(CLOCK_MONOTONIC) - begin;
    }

    engine &engine_;
    const double units_;
    std::vector<double> times_;
};

bool
right(const shape &s, const grid &got, uint64_t step)
{
    grid expected(s);
    expected.write(step);
    for (uint32_t layer = 1; layer <= s.layers; layer++)
        for (uint32_t i = 0; i < s.width; i++)
            expected.run(layer, i);
    return got.same(expected);
}

int
run(const char *system, const char *name, const shape &s, unsigned threads)
{
    tbb::global_control control(tbb::global_control::max_allowed_parallelism, threads);
    tbb::task_arena arena{int(threads)};
    grid values(s);
    std::unique_ptr<engine> e;
    if (std::strcmp(system, "tbb_flow") == 0)
        arena.execute([&] { e = std::make_unique<flow_engine>(s, values); });
    else
        e = std::make_unique<for_engine>(s, values);
    rounds r(*e, s);
    char line[16];
    bool first = true;
    while (std::fgets(line, sizeof line, stdin)) {
        double value = 0;
        arena.execute([&] {
            if (first)
                r.calibrate();
            value = r.round();
        });
        first = false;
        if (!right(s, values, r.steps)) {
            std::fprintf(stderr, "graph_tbb: %s: WRONG values\n", name);
            return 1;
        }
        std::printf("{\"bench\":\"graph\",\"case\":\"%s\",\"system\":\"%s\",\"value\":%.10g,"
                    "\"unit\":\"ns/node\",\"threads\":%u,\"body_ns\":%u,\"mean\":%.10g,"
                    "\"low\":%.10g,\"high\":%.10g,\"rounds\":1}\n",
                    name, system, value, threads, s.body_ns, r.mean, value, value);
        std::fflush(stdout);
    }
    return 0;
}

unsigned
number(const char *text)
{
    return unsigned(std::strtoul(text, nullptr, 10));
}

} // namespace

int
main(int argc, char **argv)
{
    if (argc != 9) {
        std::fprintf(stderr,
                     "graph_tbb tbb_flow|tbb_for CASE WIDTH LAYERS INPUTS BODY_NS BURN THREADS\n");
        return 2;
    }
    shape s = {number(argv[3]), number(argv[4]), number(argv[5]), number(argv[6]), number(argv[7])};
    return run(argv[1], argv[2], s, number(argv[8]));
}
