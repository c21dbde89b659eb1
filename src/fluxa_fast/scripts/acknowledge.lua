-- Acknowledges entries, and deletes those that no other group needs: XACK and XDEL, but cheaper, by trimming.
-- KEYS[1]: the stream. ARGV: the group; the lowest and the highest ID of entries that were acknowledged before and may
-- have stayed for other groups, or ''; then the IDs, ascending.
-- Returns the number of other groups of the stream, and the lowest and the highest ID of those that may stay now, or ''.
--
-- XDEL is the most expensive part. But in a group where acknowledged means deleted, every entry below the lowest
-- pending ID has to go, and XTRIM drops whole nodes of entries. The script trims only if the counters prove that no other
-- entry lies there: a group may have begun at $, or SETID may have moved it. In doubt, it deletes the IDs one by one.
local key, group = KEYS[1], ARGV[1]
local first, last = 4, #ARGV
local low, high = ARGV[2], ARGV[3]
local groups = groups_of(key)
if failed(groups) then
  return groups
end
local PAGE = 5000 -- values that unpack() puts on Lua's stack, which holds about 8000

-- Calls XACK or XDEL with ids[from] to ids[to]. Returns the sum of the replies, or an error.
local function each_page(command, ids, from, to, ...)
  local done = 0
  for at = from, to, PAGE do
    local arguments = {...}
    for i = at, math.min(at + PAGE - 1, to) do
      arguments[#arguments + 1] = ids[i]
    end
    local reply = redis.pcall(command, key, unpack(arguments))
    if failed(reply) then
      return reply
    end
    done = done + reply
  end
  return done
end

-- Returns the index of the first ID that is not less than `mark`.
local function not_below(mark)
  local low, high = first, last + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if less(ARGV[middle], mark) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- Trims entries that this call has acknowledged. Returns the index of the first ID that XDEL still has to delete.
local function trim(own, acknowledged)
  local pending = own['pending'] - acknowledged
  local behind = own['lag'] -- entries that were never delivered; some servers do not tell it, or not always
  if not behind or acknowledged ~= last - first + 1 then
    return first
  end
  local mark
  if pending > 0 then
    local summary = redis.pcall('XPENDING', key, group)
    if failed(summary) or not summary[2] or not less(ARGV[first], summary[2]) then
      return first
    end
    mark = summary[2]
  end
  -- Go on only if every delivered entry in the stream is pending or was acknowledged just now, and if the oldest entry
  -- was acknowledged just now.
  if redis.call('XLEN', key) - behind ~= pending + acknowledged then
    return first
  end
  local oldest = redis.pcall('XRANGE', key, '-', '+', 'COUNT', 1)
  if failed(oldest) or not oldest[1] or oldest[1][1] ~= ARGV[first] then
    return first
  end
  local trimmed
  if mark then
    trimmed = redis.pcall('XTRIM', key, 'MINID', mark)
  else
    trimmed = redis.pcall('XTRIM', key, 'MAXLEN', behind)
  end
  if failed(trimmed) then
    return first
  end
  return mark and not_below(mark) or last + 1
end

-- With several groups, an entry is deleted when every group is past it; low_water.lua says when that is. Whichever group
-- passes an entry last deletes it.

-- Deletes what every group is past. If the caller's own group is gone, only what was acknowledged just now: when the group
-- is made again, it must be given all else. Returns the lowest and the highest ID of acknowledged entries that may stay,
-- or '' and ''; or an error.
local function delete_what_all_are_past(own)
  local mark, inclusive, bound = low_water(key, groups)
  local from = (low ~= '' and less(low, ARGV[first])) and low or ARGV[first]
  local to = (high ~= '' and less(ARGV[last], high)) and high or ARGV[last]
  local done
  local trimmed = false
  local oldest = redis.pcall('XRANGE', key, '-', '+', 'COUNT', 1)
  if own and oldest[1] and not less(oldest[1][1], from) then -- nothing lies in front of what was acknowledged
    trimmed = not failed(redis.pcall('XTRIM', key, 'MINID', mark))
  end
  if not trimmed then -- what lies in front is no group's; or the user has no right to trim
    done = each_page('XDEL', ARGV, first, not_below(mark) - 1)
    if failed(done) then
      return done
    end
    if own and oldest[1] and from ~= ARGV[first] then
      local before = redis.call('XRANGE', key, from, mark, 'COUNT', 1000)
      local ids = {}
      for _, entry in ipairs(before) do
        if less(entry[1], mark) then
          ids[#ids + 1] = entry[1]
        end
      end
      done = each_page('XDEL', ids, 1, #ids)
      if failed(done) then
        return done
      end
      if #before == 1000 then
        return before[1000][1], to
      end
    end
  end
  -- Above the mark: an entry is stuck in a group. Those that were acknowledged just now may go all the same.
  local above = not_below(mark)
  local is_mine = above <= last and ARGV[above] == mark
  if inclusive and (is_mine or own and not less(mark, from)) then
    redis.call('XDEL', key, mark)
    if is_mine then
      above = above + 1
    end
  end
  local upto = above - 1
  while upto < last and not less(bound, ARGV[upto + 1]) do
    upto = upto + 1
  end
  local some = upto < last
  if above <= upto then
    local free, others_stay = not_pending(key, groups, ARGV, above, upto)
    done = each_page('XDEL', free, 1, #free)
    if failed(done) then
      return done
    end
    some = some or others_stay
  end
  if high ~= '' and not (less(high, mark) or high == mark and inclusive) then
    some = true -- what was acknowledged before, and was not asked for now
  end
  if not some then
    return '', ''
  end
  return less(mark, from) and from or mark, to
end

local own, others = own_and_others(groups, group)

local acknowledged = each_page('XACK', ARGV, first, last, group)
if failed(acknowledged) then
  return acknowledged
end
if others > 0 or own and (low ~= '' or less(own['last-delivered-id'], ARGV[last])) then
  local from, to = delete_what_all_are_past(own)
  return failed(from) and from or {others, from, to}
end
local deleted = each_page('XDEL', ARGV, own and trim(own, acknowledged) or first, last)
return failed(deleted) and deleted or {others, '', ''}
