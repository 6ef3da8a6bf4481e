-- Notes a step of a message on its way to a user.
local now, user, id, withheld = num(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local record = id_record(id)
local target = record and locate(user, id, record)
if not target then return 0 end
local known = receipt(target, id, user)
if withheld then
  known[WITHHELD], known[WITHHELD_AT] = withheld, now
else
  -- Sessions tell of it when they end, the one that began first perhaps last.
  known[SENT] = known[TIMES] > 0 and math.min(known[SENT], now) or now
  known[TIMES] = known[TIMES] + 1
end
save_receipt(target, id, user, known)
return 1
