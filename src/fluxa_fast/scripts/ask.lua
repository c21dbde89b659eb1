-- Asks whether there is something to take over: what consumers have handed back when they stopped, or left behind.
-- One consumer of the group asks for what was handed back. One that also asks for what was left goes before others.
-- KEYS[1]: says which consumer asks. Then the streams. ARGV: the group, the consumer, the name that has what was handed
-- back, for how many milliseconds the consumer is to be the one that asks (0: it has no time for that), after how many an
-- entry counts as left behind ("": it takes over none), and after how many without a sign a name with nothing pending is
-- removed ("": not now).
-- Returns -1 if this consumer is the one that asks, else how many consumers there are; then for each stream 1 if there is
-- something to take over, else 0.
local group, name, reserved, believed, idle, silent = unpack(ARGV)
local asks = tonumber(believed) > 0
if asks then
  local claims, other = string.match(redis.call('GET', KEYS[1]) or '', '^(%d) (.*)$')
  asks = not other or other == name or (claims == '0' and idle ~= '')
  if asks then
    redis.call('SET', KEYS[1], (idle == '' and '0 ' or '1 ') .. name, 'PX', believed)
  end
end

-- Returns how many consumers have been heard of lately. To list many takes longer than to count them.
local function alive(key)
  local groups = groups_of(key)
  if failed(groups) then
    return groups
  end
  local own = own_and_others(groups, group)
  if not own or own['consumers'] <= 6 then
    return own and own['consumers'] or 1
  end
  local count = 0
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', key, group)) do
    if fields_of(consumer)['idle'] < 5000 then
      count = count + 1
    end
  end
  return count
end

local found = {asks and -1 or alive(KEYS[2])}
if failed(found[1]) then
  return found[1]
end
if not asks and idle == '' then
  return found
end
for at = 2, #KEYS do
  local due = {}
  if asks then
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
