-- Orders for wrk: each with an Idempotency-Key of its own, as a shop's server posts them.
--   wrk … -s orders.lua URL -- API_KEY RUN SKUS
-- RUN tells this run's keys from every other's; SKUS is "HOT" (one SKU), or how many SKU-1, SKU-2 … share the orders.

dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "") .. "figures.lua")

function init(args)
  key, run, skus = args[1], args[2], args[3]
  placed = 0
  -- Everything but what differs from order to order; by hand, as wrk.format costs more than the rest of the client.
  head = "POST /v1/orders HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nAuthorization: Bearer " .. key ..
    "\r\nContent-Type: application/json\r\nUser-Agent: shop-backend/4.2 (+https://shop.example)\r\nIdempotency-Key: "
  before = '{"currency":"EUR","lines":[{"sku":"'
  middle = '","quantity":1,"unit_price_minor":1450}],"shipping_minor":490,"tax_minor":0,"discount_minor":0,' ..
    '"total_minor":1940,"reference":"web-2026-'
  after = '","customer":"customer-5f0c1d2e3b4a59687f6e5d4c3b2a1908","attribution":{"campaign":' ..
    '"black-friday-2026-newsletter-wave-2","anonymous_id":"7d2c1d9e-6b3a-4b3e-9d55-2f8a3c1b0e4f"}}'
  if skus ~= "HOT" then
    math.randomseed(os.time() + number)
  end
end

function request()
  placed = placed + 1
  local id = string.format("%s-%d-%012d", run, number, placed)
  local sku = skus
  if sku ~= "HOT" then
    sku = "SKU-" .. math.random(tonumber(skus))
  end
  local body = before .. sku .. middle .. id .. after
  return head .. id .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end
