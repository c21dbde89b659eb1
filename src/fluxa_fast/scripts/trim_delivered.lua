-- Trims what every group of the stream has been past: below the smallest pending ID of all groups, and of groups without
-- pending entries up to what was delivered last. For reading without acknowledgements, where nothing else says that an
-- entry is done with. KEYS[1]: the stream. Returns how many entries were trimmed.
local key = KEYS[1]

-- Whether a is less than b. IDs stay strings, because Lua's numbers can't hold them.
local function less(a, b)
  local a_time, a_sequence = string.match(a, '^(%d+)-(%d+)$')
  local b_time, b_sequence = string.match(b, '^(%d+)-(%d+)$')
  if a_time == b_time then
    a_time, b_time = a_sequence, b_sequence
  end
  if #a_time ~= #b_time then
    return #a_time < #b_time
  end
  return a_time < b_time
end

local groups = redis.pcall('XINFO', 'GROUPS', key)
if groups.err then
  return string.find(groups.err, 'no such key', 1, true) and 0 or groups
end
local mark
local inclusive = false
for _, flat in ipairs(groups) do
  local fields = {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  local bound = fields['last-delivered-id']
  local nothing_pending = fields['pending'] == 0
  if not nothing_pending then
    bound = redis.call('XPENDING', key, fields['name'])[2]
  end
  if not mark or less(bound, mark) then
    mark, inclusive = bound, nothing_pending
  elseif bound == mark then
    inclusive = inclusive and nothing_pending
  end
end
if not mark then
  return 0
end
local trimmed = redis.call('XTRIM', key, 'MINID', mark)
if inclusive then
  trimmed = trimmed + redis.call('XDEL', key, mark)
end
return trimmed
