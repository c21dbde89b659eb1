-- Gives what is pending for a consumer that stops to a name that running consumers look at. KEYS[1]: the stream. ARGV: the
-- group, the consumer, that name, how many entries at most, and the IDs of those that a handler was given.
-- What no handler was given was no delivery: its count goes down by one. It counts as idle for a day, so that a
-- consumer which claims what is idle, one of another library too, takes it at once.
-- Returns how many entries are left.
local key, group, name, reserved, most = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local given = {}
for at = 5, #ARGV do
  given[ARGV[at]] = true
end
local done = 0
while done < most do
  local page = redis.pcall('XPENDING', key, group, '-', '+', 500, name)
  if failed(page) or #page == 0 then -- the group may be gone
    return 0
  end
  local by_count = {}
  for _, entry in ipairs(page) do
    local count = given[entry[1]] and entry[4] or math.max(0, entry[4] - 1)
    by_count[count] = by_count[count] or {}
    table.insert(by_count[count], entry[1])
  end
  for count, ids in pairs(by_count) do
    local arguments = {key, group, reserved, 0, unpack(ids)}
    for _, argument in ipairs({'IDLE', 86400000, 'RETRYCOUNT', count, 'JUSTID'}) do
      arguments[#arguments + 1] = argument
    end
    redis.call('XCLAIM', unpack(arguments))
  end
  done = done + #page
end
local left = redis.call('XPENDING', key, group, '-', '+', 1, name)
return #left
