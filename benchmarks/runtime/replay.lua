-- Sends the bodies BODIES/0, BODIES/1, … one after the other, as clients with keep-alive do.
--   wrk … URL -- BODIES COUNT ["Header: value" …]
-- (args[0] is the URL.)
local requests = {}
local sent = 0

function init(args)
  for number = 3, #args do
    local name, value = args[number]:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
  for number = 0, tonumber(args[2]) - 1 do
    local file = assert(io.open(args[1] .. "/" .. number, "rb"))
    requests[number] = wrk.format("POST", nil, nil, file:read("*a"))
    file:close()
  end
end

function request()
  sent = sent + 1
  return requests[sent % (#requests + 1)]
end
