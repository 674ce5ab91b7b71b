-- SPDX-License-Identifier: MIT
-- For wrk: PUTs that change the value each time when COP_PUT is set, GETs otherwise; one line of
-- figures at the end.

local puts = os.getenv("COP_PUT") ~= nil
local made, next_one = {}, 0

function init()
    if not puts then
        return
    end
    local pad = tonumber(os.getenv("COP_PUT")) - 8
    for i = 1, 1000 do
        local body = string.format('"%06d%s"', i, string.rep("x", pad > 0 and pad or 0))
        made[i] = wrk.format("PUT", nil, { ["Content-Type"] = "application/json" }, body)
    end
end

function request()
    if not puts then
        return wrk.format()
    end
    next_one = next_one % 1000 + 1
    return made[next_one]
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format("figures %.1f %.4f %.4f %d\n",
        summary.requests / summary.duration * 1e6,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000,
        e.connect + e.read + e.write + e.status + e.timeout))
end
