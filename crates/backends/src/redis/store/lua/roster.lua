-- Puts users on a channel's roster, where they have everything behind the last entry there is; or takes them off.
local channel, on, changed = ARGV[1], ARGV[2] == '1', 0
local since = num(call('HGET', P .. 'meta', 'seq') or 0)
local place = pack({ since, since, since })
for i = 3, #ARGV do
  local user = ARGV[i]
  if on then
    changed = changed + call('HSETNX', P .. 'j:' .. user, channel, place)
    call('ZADD', P .. 'm:' .. channel, 0, user)
  else
    changed = changed + call('HDEL', P .. 'j:' .. user, channel)
    call('ZREM', P .. 'm:' .. channel, user)
  end
end
return changed
