-- Put in front of scripts that delete what every group is past. A group is past the entries below its mark: its lowest
-- pending ID, or what it was delivered last. After XGROUP SETID, entries may be pending that it will be delivered once more.

-- Returns the lowest mark of the groups, whether every group is past the entry at the mark, and the lowest ID that a group
-- was delivered last: behind that ID, nothing can be deleted.
local function low_water(key, groups)
  local mark, inclusive, bound
  for _, one in ipairs(groups) do
    local delivered = one['last-delivered-id']
    local at, past = delivered, true
    if one['pending'] > 0 then
      local lowest = redis.call('XPENDING', key, one['name'], '-', '+', 1)[1]
      if lowest and not less(delivered, lowest[1]) then
        at, past = lowest[1], false
      end
    end
    if not mark or less(at, mark) then
      mark, inclusive = at, past
    elseif at == mark then
      inclusive = inclusive and past
    end
    if not bound or less(delivered, bound) then
      bound = delivered
    end
  end
  return mark, inclusive, bound
end
