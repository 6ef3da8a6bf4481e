-- Where a user has a message.

-- Their own place: the place, its member and state; the last two are missing where it is gone. Nothing: they never had it.
local function own_place(user, id, record)
  local target = 'u' .. user
  local known = load(P .. 'r:' .. user, id)
  if known and known[GONE] > 0 then return known[PLACE] end
  local state, member = known and known[STATE] or 0, member_of(id, record)
  local place = call('ZSCORE', set_of(target, state), member)
  if place then return num(place), member, state end
end

-- How far a user has come in a channel; nothing: they are not on its roster.
local function progress_of(user, channel) return load(P .. 'j:' .. user, channel) end

-- The places of a message in channels of a user, in the record's order: {target, place, ...}.
local function channel_places(user, record)
  local found = {}
  for i = FIRST, #record, 2 do
    if string.byte(record[i], 1) == 99 then
      local progress = progress_of(user, string.sub(record[i], 2))
      if progress and progress[SINCE] < record[i + 1] then
        found[#found + 1] = record[i]
        found[#found + 1] = record[i + 1]
      end
    end
  end
  return found
end

-- The last place where a user has, or had, a message.
local function last_place(user, id, record)
  local last = own_place(user, id, record)
  local places = channel_places(user, record)
  for i = 2, #places, 2 do last = math.max(last or 0, places[i]) end
  return last
end

-- Where a user has a message now: {{target, place, member, state}, ...}.
local function held(user, id, record, now)
  local found = {}
  if is_over(member_of(id, record), now) then return found end
  local place, member, state = own_place(user, id, record)
  if member then found[1] = { 'u' .. user, place, member, state } end
  local places = channel_places(user, record)
  for i = 1, #places, 2 do
    member = member_of(id, record)
    if call('ZSCORE', set_of(places[i], 0), member) then
      local known = receipt(places[i], id, user)
      if known[GONE] == 0 then found[#found + 1] = { places[i], places[i + 1], member, known[STATE] } end
    end
  end
  return found
end

-- The place whose story is told: their own, else the first in a channel of theirs.
local function locate(user, id, record)
  local place = own_place(user, id, record)
  if place then return 'u' .. user, place end
  local places = channel_places(user, record)
  return places[1], places[2]
end

-- Moves a cursor of a member over everything that is that far.
local function pass(user, channel, progress, which, least, now)
  local target, at = 'c' .. channel, math.max(progress[which], progress[SINCE])
  for _ = 1, 20 do
    local some = call('ZRANGEBYSCORE', set_of(target, 0), '(' .. string.format('%d', at), '+inf', 'WITHSCORES', 'LIMIT', 0, 1000)
    for i = 1, #some, 2 do
      local known = receipt(target, (read_member(some[i])), user)
      if known[STATE] < least and known[GONE] == 0 and not is_over(some[i], now) then
        progress[which] = at
        return
      end
      at = num(some[i + 1])
    end
    if #some < 2000 then break end
  end
  progress[which] = at
end

-- Moves the cursors of a member of a channel as far as they go.
local function settle(user, target, now)
  local channel = string.sub(target, 2)
  local progress = progress_of(user, channel)
  if not progress then return end
  pass(user, channel, progress, ACKNOWLEDGED, 1, now)
  pass(user, channel, progress, READ, 3, now)
  call('HSET', P .. 'j:' .. user, channel, pack(progress))
end

-- Takes one message from a user: out of their inbox, or out of their sight.
local function take(user, id, one, why, now)
  local target, place, member, state = one[1], one[2], one[3], one[4]
  if string.byte(target, 1) == 117 then
    remove(target, member, state, place, why, now)
  else
    local known = receipt(target, id, user)
    known[GONE], known[GONE_AT] = why, now
    save_receipt(target, id, user, known)
    settle(user, target, now)
  end
end
