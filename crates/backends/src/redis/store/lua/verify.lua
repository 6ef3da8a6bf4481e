-- Whether the records of some ids, or of some targets, agree with each other: {cursor, {target, ...}, {place, what, ...}}.
local cursor, wrong, targets, seen = ARGV[1], {}, {}, {}

local function tell(place, what)
  wrong[#wrong + 1] = place
  wrong[#wrong + 1] = what
end

local function look_at_id(id, record)
  local places, there = places_of(id, record), 0
  for i = 1, #places, 2 do
    local target, state, gone = places[i], 0, false
    local is_own = string.byte(target, 1) == 117
    local known = receipt(target, id, '')
    if is_own then state = known[STATE] end
    gone = known[GONE] > 0
    local place = call('ZSCORE', set_of(target, state), member_of(id, record))
    if place then there = there + 1 end
    if (place and true or false) == gone then tell(id, 'in ' .. target .. ' it is neither there nor gone, or both') end
    if place and num(place) ~= places[i + 1] then tell(id, 'in ' .. target .. ' it is at another place') end
    if place and record[EXPIRES] > 0 and not call('ZSCORE', P .. 'x', expiry_of(target, id)) then
      tell(id, 'it does not expire in ' .. target)
    end
    if not seen[target] then
      seen[target] = true
      targets[#targets + 1] = target
    end
  end
  if record[DUE] > 0 then
    if call('HEXISTS', P .. 'w', record[NUMBER]) == 0 then tell(id, 'it does not wait') end
    there = there + 1
  end
  local refs = num(call('HGET', P .. 'n', id) or call('HEXISTS', P .. 'b', id))
  if refs ~= there then tell(id, 'it lies in ' .. there .. ' places, ' .. refs .. ' should be') end
end

local function look_at_target(target)
  local count = 0
  for state = 0, 4 do
    local members = call('ZRANGE', set_of(target, state), 0, -1)
    count = count + #members
    for i = 1, #members do
      local id = read_member(members[i])
      local record = id_record(id)
      if not record or member_of(id, record) ~= members[i] then tell(target, 'the id ' .. id .. ' does not lead here') end
    end
  end
  local known = num(call('HGET', P .. 'h:' .. target, 'n') or 0)
  if known ~= count then tell(target, count .. ' entries are there, ' .. known .. ' should be') end
end

if #ARGV > 1 then
  for i = 2, #ARGV do look_at_target(ARGV[i]) end
  return { '0', {}, wrong }
end
local some = call('HSCAN', P .. 'd', cursor, 'COUNT', 500)
for i = 1, #some[2], 2 do look_at_id(some[2][i], unpack_record(some[2][i + 1])) end
return { some[1], targets, wrong }
