-- Takes over what consumers have handed back when they stopped. One consumer of the group asks; the others are told so.
-- KEYS[1]: says which consumer asks. Then the streams. ARGV: the group, the consumer, the name that has what was handed
-- back, for how many milliseconds the consumer is to be the one that asks, and how many entries of each stream at most.
-- Returns how many consumers the group has if another one asks, else -1; then for each stream how many were taken.
local group, name, reserved, milliseconds, most = unpack(ARGV)
local asking = redis.call('GET', KEYS[1])
if asking and asking ~= name then
  local own = own_and_others(groups_of(KEYS[2]), group)
  return {own and own['consumers'] or 1}
end
redis.call('SET', KEYS[1], name, 'PX', milliseconds)
local taken = {-1}
for at = 2, #KEYS do
  local page = redis.pcall('XPENDING', KEYS[at], group, '-', '+', most, reserved)
  local ids = {}
  if not failed(page) then
    for i, entry in ipairs(page) do
      ids[i] = entry[1]
    end
  end
  taken[at] = 0
  if #ids > 0 then
    local arguments = {KEYS[at], group, name, 3600000, unpack(ids)}
    arguments[#arguments + 1] = 'JUSTID'
    taken[at] = #redis.call('XCLAIM', unpack(arguments))
  end
end
return taken
