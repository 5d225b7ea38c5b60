-- Readers for wrk.
--   wrk … -s pages.lua URL -- page PATH [PAUSE_MS]   the same page again and again, each connection so long after its last answer
--   wrk … -s pages.lua URL -- held PATH ETAG         by a client that has it already
--   wrk … -s pages.lua URL -- flood RUN              a search that nobody asked for before; RUN tells it from every other's

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  kind, pause, asked = args[1], 0, 0
  local headers = "Host: " .. wrk.headers["Host"] .. "\r\nUser-Agent: reader/1.0\r\nAccept: */*\r\n"
  local get = function(path, more) return "GET " .. path .. " HTTP/1.1\r\n" .. headers .. (more or "") .. "\r\n" end
  if kind == "flood" then
    before = "GET /v1/products?q=" .. args[2] .. "t" .. number .. "n"
    after = " HTTP/1.1\r\n" .. headers .. "\r\n"
  elseif kind == "held" then
    same = get(args[2], "If-None-Match: " .. args[3] .. "\r\n")
  else
    same = get(args[2])
    pause = tonumber(args[3] or "0")
  end
end

function delay()
  return pause
end

function request()
  if same then
    return same
  end
  asked = asked + 1
  return before .. asked .. after
end

-- For the script that started this: accepted is what was answered below 400.
function done(summary, latency, requests)
  local errors = summary.errors
  local accepted = summary.requests - errors.status
  print(string.format("accepted %d", accepted))
  print(string.format("per_s %.1f", accepted / (summary.duration / 1e6)))
  print(string.format("refused %d", errors.status))
  print(string.format("broken %d", errors.connect + errors.read + errors.write + errors.timeout))
  print(string.format("p50_ms %.3f", latency:percentile(50) / 1e3))
  print(string.format("p99_ms %.3f", latency:percentile(99) / 1e3))
end
