-- A page of what a user has: their own inbox and their channels as one list in the one order.
local now, user, newest = num(ARGV[1]), ARGV[2], ARGV[3] == '1'
local after, limit, states = num(ARGV[4]), num(ARGV[5]), ARGV[6]
-- The most entries of one set that are looked at for one page.
local EXAMINED = 10000
local own, items, horizons, last = 'u' .. user, {}, {}, 0

local function is_wanted(state) return states == '' or string.find(states, state, 1, true) ~= nil end

-- The entries of a set in order, behind `low`.
local function collect(target, set, low)
  local examined, found, chunk = 0, 0, math.min(limit + 1, 1000)
  local from, till = '(' .. string.format('%d', newest and low or math.max(low, after)), '+inf'
  if newest and after > 0 then till = '(' .. string.format('%d', after) end
  while true do
    local some
    if newest then
      some = call('ZREVRANGEBYSCORE', set_of(target, set), till, from, 'WITHSCORES', 'LIMIT', 0, chunk)
    else
      some = call('ZRANGEBYSCORE', set_of(target, set), from, till, 'WITHSCORES', 'LIMIT', 0, chunk)
    end
    for i = 1, #some, 2 do
      local member, place, state, gone = some[i], num(some[i + 1]), set, false
      local id = read_member(member)
      if target ~= own then
        local known = receipt(target, id, user)
        state, gone = known[STATE], known[GONE] > 0
      end
      examined = examined + 1
      if not gone and is_wanted(state) and not is_over(member, now) then
        items[#items + 1] = { place, target, state, id }
        found = found + 1
      end
      if found >= limit or examined >= EXAMINED then
        horizons[#horizons + 1] = place
        return
      end
      if newest then till = '(' .. some[i + 1] else from = '(' .. some[i + 1] end
    end
    if #some < 2 * chunk then return end
  end
end

local function sees(target) last = math.max(last, num(call('HGET', P .. 'h:' .. target, 'last') or 0)) end

local pending, unread = states == '0', states ~= '' and not string.find(states, '[34]')
sees(own)
for state = 0, 4 do
  if is_wanted(state) then collect(own, state, 0) end
end
local joined = call('HGETALL', P .. 'j:' .. user)
for i = 1, #joined, 2 do
  local target, progress = 'c' .. joined[i], unpack_record(joined[i + 1])
  sees(target)
  local skip = pending and progress[ACKNOWLEDGED] or unread and progress[READ] or 0
  collect(target, 0, math.max(progress[SINCE], skip))
end

-- Behind where the first walk was broken off, other sets' entries would overtake.
local horizon
for i = 1, #horizons do
  if not horizon or (newest and horizons[i] > horizon) or (not newest and horizons[i] < horizon) then
    horizon = horizons[i]
  end
end
table.sort(items, function(a, b) if newest then return a[1] > b[1] else return a[1] < b[1] end end)
local page, rest = {}, false
for i = 1, #items do
  local within = not horizon or (newest and items[i][1] >= horizon) or (not newest and items[i][1] <= horizon)
  if within and #page < limit then page[#page + 1] = items[i] elseif within then rest = true end
end
local upto = horizon
if rest then upto = page[#page][1] end

-- Puts the other places of the last message on its page, too, so that no message is on two.
local function complete()
  local final = page[#page]
  local record = final and id_record(final[4])
  if not record then return end
  local others = channel_places(user, record)
  local place, member = own_place(user, final[4], record)
  if place then
    others[#others + 1] = own
    others[#others + 1] = place
  end
  local found = {}
  for i = 1, #others, 2 do
    local at = others[i + 1]
    -- What was put at once has places next to each other; what was sent again is elsewhere, with others in between.
    local near = math.abs(at - final[1]) < record[TOTAL]
    if near and ((newest and at < final[1]) or (not newest and at > final[1])) then
      found[#found + 1] = { at, others[i] }
    end
  end
  table.sort(found, function(a, b) if newest then return a[1] > b[1] else return a[1] < b[1] end end)
  for i = 1, #found do
    local at, target = found[i][1], found[i][2]
    local known = receipt(target, final[4], user)
    local there = known[GONE] == 0 and call('ZSCORE', set_of(target, target == own and known[STATE] or 0), member_of(final[4], record))
    if there then
      if is_wanted(known[STATE]) then page[#page + 1] = { at, target, known[STATE], final[4] } end
      upto = newest and math.min(upto, at) or not newest and math.max(upto, at)
    end
  end
end
if upto then complete() end
for i = 1, #page do page[i][4] = call('HGET', P .. 'b', page[i][4]) end
return { upto or false, last, page }
