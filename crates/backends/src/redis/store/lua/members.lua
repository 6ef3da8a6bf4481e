-- A page of a channel's roster.
local channel, limit, after = ARGV[1], num(ARGV[2]), ARGV[3]
return call('ZRANGEBYLEX', P .. 'm:' .. channel, after and '(' .. after or '-', '+', 'LIMIT', 0, limit)
