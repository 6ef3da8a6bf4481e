-- Figures of an app: records, from which hour on ids count, the bytes of ids, the last place.
local from = first_hour(num(ARGV[1]), num(ARGV[2]))
local meta = call('HMGET', P .. 'meta', 'bytes', 'seq')
return { call('HLEN', P .. 'd') + call('HLEN', P .. 'b'), from, num(meta[1] or 0), num(meta[2] or 0) }
