-- Asks whether there is something to take over: what consumers have handed back when they stopped, or left behind.
-- One consumer of the group asks for what was handed back. One that also asks for what was left goes before others.
-- KEYS[1]: says which consumer asks. Then the streams. ARGV: the group, the consumer, the name that has what was handed
-- back, for how many milliseconds the consumer is to be the one that asks (0: it is busy, and looks this once), after how
-- many an entry counts as left behind ("": it takes over none), and after how many without a sign a name with nothing pending is
-- removed ("": not now).
-- Returns -1 if this consumer is the one that asks, else how many questions of the other consumers came in a second; then
-- for each stream 1 if there is something to take over, else 0.
local group, name, reserved, believed, idle, silent = unpack(ARGV)

-- KEYS[1] holds: whether the one that asks takes over what was left; a second, and how many questions of the others came in
-- it and in the one before; the name of the one that asks, or "".
local claims, second, count, before, other = string.match(
  redis.call('GET', KEYS[1]) or '', '^(%d) (%d+) (%d+) (%d+) (.*)$')
local free = not other or other == '' or other == name or (claims == '0' and idle ~= '')
local asks = tonumber(believed) > 0 and free
local now = tonumber(redis.call('TIME')[1])
if tonumber(second) ~= now then
  before = tonumber(second) == now - 1 and count or 0
  count = 0
end
if asks then
  claims, other = idle == '' and '0' or '1', name
else
  count = count + 1
end
local value = string.format('%s %.0f %d %d %s', claims or '0', now, count, before, other or '')
if asks then
  redis.call('SET', KEYS[1], value, 'PX', believed)
elseif second then
  redis.call('SET', KEYS[1], value, 'KEEPTTL')
else
  redis.call('SET', KEYS[1], value, 'PX', 2000)
end

local found = {asks and -1 or math.max(count, before)}
local looks = asks or tonumber(believed) == 0
if not looks and idle == '' then
  return found
end
for at = 2, #KEYS do
  local due = {}
  if looks then
    due = redis.pcall('XPENDING', KEYS[at], group, '-', '+', 1, reserved)
  end
  if not failed(due) and #due == 0 and idle ~= '' then
    due = due_entries(KEYS[at], group, tonumber(idle), '-', 1, name)
  end
  if failed(due) and not string.find(due.err, 'NOGROUP', 1, true) then
    return due
  end
  found[at] = #due > 0 and 1 or 0
  if asks and silent ~= '' then
    remove_names(KEYS[at], group, tonumber(silent), function(one)
      return one ~= name and string.match(one, '^consumer%-%d%d%d%d_%d%d_%d%d_%d%d_%d%d_%d%d%-%d+$')
    end)
  end
end
return found
