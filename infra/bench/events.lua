-- Batches of page events for wrk, as Segment's clients send them: 100 in a request, each with a messageId of its own.
--   wrk … -s events.lua URL -- API_KEY RUN

local per_request = 100
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  key, run = args[1], args[2]
  sent = 0
  headers = { ["Authorization"] = "Bearer " .. key, ["Content-Type"] = "application/json" }
  -- A request is these pieces with an id in every second place: what differs between two requests is the ids alone.
  pieces = { '{"batch":[' }
  for event = 1, per_request do
    pieces[#pieces + 1] = (event > 1 and "," or "") .. '{"type":"page","messageId":"'
    pieces[#pieces + 1] = ""
    pieces[#pieces + 1] = string.format(
      '","anonymousId":"visitor-%d","timestamp":"2026-11-24T12:00:00.000Z","name":"Product",' ..
        '"properties":{"path":"/products/sku-%d","url":"https://shop.example/products/sku-%d"}}',
      event * 37, event % 20, event % 20)
  end
  pieces[#pieces + 1] = '],"context":{"campaign":{"name":"black-friday-2026"}},"sentAt":"2026-11-24T12:00:00.000Z"}'
end

function request()
  for event = 1, per_request do
    sent = sent + 1
    pieces[3 * event] = run .. "-" .. number .. "-" .. sent
  end
  return wrk.format("POST", "/v1/batch", headers, table.concat(pieces))
end

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
