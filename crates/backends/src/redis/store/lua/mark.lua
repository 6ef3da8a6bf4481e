-- Brings messages of a user forward.
local now, user, to, kind = num(ARGV[1]), ARGV[2], num(ARGV[3]), ARGV[4]
-- Others wait meanwhile.
local MARKED = 1000
local changed, unknown, touched, more = {}, {}, {}, 0
local own = 'u' .. user

local function wanted_of(id) return id_record(id)[WANTED] end

local function advance(id, target, place, member, from, wanted)
  local known = receipt(target, id, user)
  for state = from + 1, to do
    if known[state + 1] == 0 then known[state + 1] = now end
  end
  known[STATE] = to
  save_receipt(target, id, user, known)
  if target == own then
    call('ZREM', set_of(own, from), member)
    call('ZADD', set_of(own, to), place, member)
    if from == 0 then call('ZADD', P .. 'k', 'NX', now, own) end
  else
    touched[target] = true
  end
  local count = #changed
  changed[count + 1], changed[count + 2], changed[count + 3] = id, place, from
  changed[count + 4] = wanted and wanted_of(id) or ''
end

local function by_id(id)
  local record = id_record(id)
  local found = record and held(user, id, record, now) or {}
  for i = 1, #found do
    local target, place, member, from = found[i][1], found[i][2], found[i][3], found[i][4]
    if from < to then advance(id, target, place, member, from, record[WANTED] ~= '') end
  end
  if #found == 0 then unknown[#unknown + 1] = id end
end

-- Collects what is to be changed in one set, and then changes it.
local function up_to(target, set, after, till)
  local chosen, at = {}, '(' .. string.format('%d', after)
  while true do
    local some = call('ZRANGEBYSCORE', set_of(target, set), at, till, 'WITHSCORES', 'LIMIT', 0, MARKED)
    for i = 1, #some, 2 do
      local member, state, gone = some[i], set, false
      local id, _, wanted = read_member(member)
      if target ~= own then
        local known = receipt(target, id, user)
        state, gone = known[STATE], known[GONE] > 0
      end
      if state < to and not gone and not is_over(member, now) then
        if #changed / 4 + #chosen >= MARKED then
          more = 1
          break
        end
        chosen[#chosen + 1] = { id, target, num(some[i + 1]), member, state, wanted }
      end
      at = '(' .. some[i + 1]
    end
    if more == 1 or #some < 2 * MARKED then break end
  end
  for i = 1, #chosen do advance(unpack(chosen[i])) end
end

local function all_up_to(till)
  -- From behind, so that what comes into a set has been looked at.
  for state = to - 1, 0, -1 do up_to(own, state, 0, till) end
  local joined = call('HGETALL', P .. 'j:' .. user)
  for i = 1, #joined, 2 do
    local progress = unpack_record(joined[i + 1])
    local done = to <= 1 and progress[ACKNOWLEDGED] or to <= 3 and progress[READ] or 0
    up_to('c' .. joined[i], 0, math.max(progress[SINCE], done), till)
  end
end

if kind == 'ids' then
  for i = 5, #ARGV do by_id(ARGV[i]) end
elseif kind == 'all' then
  all_up_to('+inf')
else
  local record = id_record(ARGV[5])
  local till = record and last_place(user, ARGV[5], record)
  if till then all_up_to(till) else unknown[1] = ARGV[5] end
end
for target in pairs(touched) do settle(user, target, now) end
return { changed, unknown, more }
