-- Readers for wrk.
--   wrk … -s pages.lua URL -- page PATH [PAUSE_MS]   the same page again and again, each connection so long after its last answer
--   wrk … -s pages.lua URL -- held PATH ETAG         by a client that has it already
--   wrk … -s pages.lua URL -- flood RUN              a search that nobody asked for before; RUN tells it from every other's

dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "") .. "figures.lua")

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
  -- With a function of this name wrk puts every answer through its timers, also where the pause is none.
  if pause > 0 then
    function delay() return pause end
  end
end

function request()
  if same then
    return same
  end
  asked = asked + 1
  return before .. asked .. after
end
