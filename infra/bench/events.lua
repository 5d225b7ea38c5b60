-- Batches of page events for wrk, as Segment's clients send them: 100 in a request, each with a messageId of its own.
--   wrk … -s events.lua URL -- API_KEY RUN

dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "") .. "figures.lua")
per_request = 100

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
