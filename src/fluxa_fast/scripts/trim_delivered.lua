-- Trims what every group of the stream has been past: below the smallest pending ID of all groups, and of groups without
-- pending entries up to what was delivered last. For reading without acknowledgements, where nothing else says that an
-- entry is done with. KEYS[1]: the stream. Returns how many entries were trimmed.
local key = KEYS[1]

local groups = groups_of(key)
if failed(groups) then
  return groups
end
local mark
local inclusive = false
for _, group in ipairs(groups) do
  local bound = group['last-delivered-id']
  local nothing_pending = group['pending'] == 0
  if not nothing_pending then
    bound = redis.call('XPENDING', key, group['name'])[2]
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
