-- What all scripts share: the names of keys, and the records. Every key of an app begins with KEYS[1], which holds the
-- app's hash tag, so that one script touches one slot.
--
-- A target is written as its kind and its name: `uNAME` or `cNAME`. A member of a target's sets is written as
-- EXPIRES [!] : ID, so that a walk needs no other record: `!` says that somebody wants receipts.
--
--   meta                hash    seq, the last place; from, the first hour whose ids count; bytes of ids
--   hours, u, i:HOUR    zset    the hours whose ids count; hash: the bytes of each; list: the ids of one
--   sweep, over         list    hours, and single ids, that may be forgotten when their message is gone
--   d                   hash    id -> record, see ID below
--   p                   hash    id -> all places, where they are too many for the record
--   b                   hash    id -> the message, for as long as it lies anywhere or waits
--   n                   hash    id -> in how many places it lies, where these are several
--   h:TARGET            hash    n, how many entries; last, the last place there was; x, before then nothing expires
--   S:TARGET            zset    member -> place, of the entries in state S (of a channel, all are in 0)
--   r:NAME              hash    id -> receipt of a message in the user's own inbox
--   q:LENGTH:NAME:ID    hash    user -> receipt of a message in a channel; of nobody: of the entry itself
--   j:NAME              hash    channel -> how far the user has come there
--   m:NAME              zset    who is on a channel's roster
--   x                   zset    LENGTH:TARGET ID -> when it expires
--   due, w              zset    number -> when it is due; hash: number -> what is put then
--   k                   zset    target -> when to look for what was acknowledged long ago
--   past                hash    life, which one of the history it is; run, the run of Redis; ms, n, the last place there
--   H:NAME              stream  what was said in a channel; goes by itself when nobody says anything
--   L:NAME              string  the last place there that is not in the stream any more, or never was
local P, call, num, floor = KEYS[1], redis.call, tonumber, math.floor
local pack, unpack_record = cmsgpack.pack, cmsgpack.unpack

-- The record of an id.
local AT, EXPIRES, WANTED, LATE, DUE, NUMBER, ASKED, TOTAL, SPILLED, FIRST = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
-- So many places are in the record itself.
local INLINE = 16
-- A receipt: the state, when each but the first was reached, and so on.
local STATE, SENT, TIMES, WITHHELD, WITHHELD_AT, GONE, GONE_AT, PLACE = 1, 6, 7, 8, 9, 10, 11, 12
local DELETED, EXPIRED, DROPPED, TRIMMED, RESENT = 1, 2, 3, 4, 5
-- How far a member has come in a channel.
local SINCE, ACKNOWLEDGED, READ = 1, 2, 3

local HOUR, DAY = 3600000, 24

local function hour(time) return floor(time / HOUR) end

local function load(key, field)
  local raw = call('HGET', key, field)
  return raw and unpack_record(raw)
end

local function id_record(id) return load(P .. 'd', id) end

local function save_id(id, record) call('HSET', P .. 'd', id, pack(record)) end

local function member_of(id, record)
  local expires = record[EXPIRES] > 0 and string.format('%d', record[EXPIRES]) or ''
  return expires .. (record[WANTED] ~= '' and '!' or '') .. ':' .. id
end

-- The id of a member, when it expires (or nil), and whether somebody wants receipts.
local function read_member(member)
  local colon = string.find(member, ':', 1, true)
  if colon == 1 then return string.sub(member, 2), nil, false end
  local wanted = string.byte(member, colon - 1) == 33
  return string.sub(member, colon + 1), num(string.sub(member, 1, colon - (wanted and 2 or 1))), wanted
end

local function is_over(member, now)
  if string.byte(member, 1) == 58 then return false end
  local _, expires = read_member(member)
  return expires ~= nil and expires <= now
end

local function set_of(target, state) return P .. state .. ':' .. target end

local function expiry_of(target, id) return #target .. ':' .. target .. id end

local function receipts_of(target, id)
  if string.byte(target, 1) == 117 then return P .. 'r:' .. string.sub(target, 2) end
  return P .. 'q:' .. (#target - 1) .. ':' .. string.sub(target, 2) .. ':' .. id
end

-- Where a receipt is: its key and its field.
local function receipt_at(target, id, user)
  local key = receipts_of(target, id)
  if string.byte(target, 1) == 117 then return key, id end
  return key, user
end

local function new_receipt() return { 0, 0, 0, 0, 0, 0, 0, '', 0, 0, 0, 0 } end

local function receipt(target, id, user) return load(receipt_at(target, id, user)) or new_receipt() end

local function save_receipt(target, id, user, record)
  local key, field = receipt_at(target, id, user)
  call('HSET', key, field, pack(record))
end

-- All places of a message: {target, place, ...}.
local function places_of(id, record)
  if record[SPILLED] == 1 then return load(P .. 'p', id) or {} end
  local places = {}
  for i = FIRST, #record do places[#places + 1] = record[i] end
  return places
end

local function set_places(id, record, places)
  for i = #record, FIRST, -1 do record[i] = nil end
  record[TOTAL] = #places / 2
  local spills = record[TOTAL] > INLINE
  if spills then
    call('HSET', P .. 'p', id, pack(places))
  elseif record[SPILLED] == 1 then
    call('HDEL', P .. 'p', id)
  end
  record[SPILLED] = spills and 1 or 0
  for i = 1, #places, 2 do
    -- A user's own place is found in their inbox.
    if not spills or string.byte(places[i], 1) == 99 then
      record[#record + 1] = places[i]
      record[#record + 1] = places[i + 1]
    end
  end
end

local function is_there(id, record)
  return record[DUE] > 0 or call('HEXISTS', P .. 'b', id) == 1
end

-- A message lies in one place less.
local function unref(id)
  local left = (num(call('HGET', P .. 'n', id) or 1)) - 1
  if left > 0 then
    call('HSET', P .. 'n', id, left)
    return
  end
  call('HDEL', P .. 'n', id)
  call('HDEL', P .. 'b', id)
  local record = id_record(id)
  if record and record[LATE] == 1 then call('RPUSH', P .. 'over', id) end
end

-- A message lies in so many places.
local function set_refs(id, count)
  if count > 1 then call('HSET', P .. 'n', id, count) else call('HDEL', P .. 'n', id) end
end

-- From which hour on ids count: a day back, or less where their bytes are capped. The current hour always counts.
local function first_hour(now, cap)
  local current = hour(now)
  local meta = call('HMGET', P .. 'meta', 'from', 'bytes')
  local before, bytes = num(meta[1] or 0), num(meta[2] or 0)
  -- A clock that was set back must not make what is put now older than what counts.
  local from = math.max(math.min(before, current), current - DAY)
  if from == before and bytes <= cap then return from end
  while true do
    local oldest = call('ZRANGE', P .. 'hours', 0, 0)[1]
    if not oldest then break end
    local at = num(oldest)
    if not (at < from or (bytes > cap and at < current)) then break end
    from = math.max(from, at + 1)
    bytes = bytes - num(call('HGET', P .. 'u', oldest) or 0)
    call('ZREM', P .. 'hours', oldest)
    call('HDEL', P .. 'u', oldest)
    call('RPUSH', P .. 'sweep', oldest)
  end
  call('HSET', P .. 'meta', 'from', from, 'bytes', bytes)
  return from
end
