-- What all of these have in common: each thread has a number, and at the end the script that started wrk reads the figures.
-- `per_request` is how many of what is counted one request carries.

per_request = 1
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

-- Accepted is what was answered below 400.
function done(summary, latency, requests)
  local errors = summary.errors
  local accepted = (summary.requests - errors.status) * per_request
  print(string.format("accepted %d", accepted))
  print(string.format("per_s %.1f", accepted / (summary.duration / 1e6)))
  print(string.format("refused %d", errors.status))
  print(string.format("broken %d", errors.connect + errors.read + errors.write + errors.timeout))
  print(string.format("p50_ms %.3f", latency:percentile(50) / 1e3))
  print(string.format("p99_ms %.3f", latency:percentile(99) / 1e3))
end
