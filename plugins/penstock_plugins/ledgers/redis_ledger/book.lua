#!lua name=penstock_ledger
-- The book of a ledger on Redis or Valkey: carries out one batch of steps, all of it or nothing.
--
-- It is penstock.policy.ledger_book once more, on keys of the server; both answer alike, which tests compare step by
-- step. First everything is read and reckoned, in tables of this script; what was changed is written at the end. So a
-- step that fails, a key of a wrong type or a full memory leave all as it was.
--
-- KEYS     (`K` below) all that a ledger has, under one hash tag (one slot of a cluster):
--   1 windows  hash, the book itself, of six kinds of fields:
--                ''         doubles: version, now (the latest time ever), tombstone (the longest lease, in seconds),
--                           the time before which nothing is due, when the books were begun, and the batches so far;
--                           then the name of the life of the server that carried out the last of them
--                '!' packed {name, batches at its end, ...}: the lives of servers before, oldest first
--                '~'        packed {shape, ...}: the periods and zones that windows have, or had: what a window's name
--                           is without the account ('day:UTC'). There are as many as configurations name
--                window key doubles: limit tokens, limit USD and nano-USD (-1 where none is set by hand); the number and
--                           the time of the batch that counted in it last, the batch up to which it has missed nothing
--                           that others of its account and period have counted (-1: that one), and when the tokens and
--                           the money spent in it were last put right by hand; and ten for each bucket
--                '#' id     of a hold, packed {account, output, reserved at, lease ends, top-ups, lapsed, and of each
--                           part: by estimate, tokens, USD, nano-USD, how many follow, window key, finish, ...}; lapsed
--                           is false, true, or 2 where the hold was released by hand: no renewal gives it its lease
--                           again. Of what is settled, the time until which it is known as that, in digits
--                '$' packed {quarter, account, target, estimated}: the journal's sums of it, doubles
--   2 ends     sorted set: window key by the end of its last bucket; then it is looked at and forgotten. By infinity
--              where it has a limit only
--   3 due      sorted set: '#' id by the time at which something is to be done about the hold; of what is settled, by
--              the time until which it is known as that, below nothing (-time)
--   4 history  list of packed rows: what was done by hand
--   5 quarters sorted set: fields of the journal by their quarter of an hour
--   6 held     sorted set of what is held, by nothing but its name, which begins with the account: see `name_held`
-- ARGV[1]  'steps', and ARGV[4] and so on are the steps; 'back': the clock is set back to ARGV[2], and ARGV[4] is
--          {reason, window key -> its end then}; 'windows' or 'holds': answered by what is kept of them all, each after
--          its field
-- ARGV[2]  the time, or '' for the server's own
-- ARGV[3]  of steps: packed the name of the server's life, whether it was looked at for this batch, and what who asks
--          has seen of these books: when they were begun, in which life, and its batches (or nothing of that)
-- Answers  packed {now, {answer, ...}, begun, batches}. {false, version} where the content is of another version, and
--          {false, 0} where it is of other books than who asks has seen; {false, -1, batches} where it lacks so many (or
--          false) that who asks has seen; {false, -2} where the server is to be looked at again
--
-- Lives. A server that was restarted, or a replica in its place, may come back with what it had a while ago, and then
-- the number of batches goes on from there, and may pass what somebody has seen. So each life of a server has a name,
-- and it is kept how many batches there were at its end: what was seen in a life, and is not among them, is lost.
--
-- Figures. Numbers here are doubles, exact up to 2^53, which is less than 10 million USD in nano-USD. So money is a
-- pair: whole USD (rounded down) and the nano-USD above them, 0 to 999,999,999. An amount is {tokens, USD, nano-USD}.
--
-- Speed. Every call of every process waits for this. So it is a library (FUNCTION LOAD), whose functions are there
-- already when it is called: made anew for each call, as EVALSHA does, they took a third of its time. It calls the
-- server as seldom as it can, each time some microseconds: a reserve reads one hash at once and writes that hash and
-- one sorted set. And it makes few tables, which are dear to grow and to collect, and changes figures in place: a
-- packed array grows while it is unpacked, so what every call needs is unpacked as a row of values instead.

local VERSION = 5             -- 4 has three figures before the buckets; 3 has no shapes and no `held` besides; 2 has no
                              -- batches and no life besides
local FIRST_READ, FIRST_WITH_LIVES = 2, 3
local E9, E6 = 1000000000, 1000000
local QUARTER = 900           -- seconds: days of every time zone begin at a quarter of an hour
local MOST_LIVES = 100        -- of which no batch is lost unseen: a server is restarted more seldom
local MOST_HISTORY = 10000    -- rows, some megabytes: what people do by hand is seldom more in years
local JOURNAL_KEPT = 34560000 -- seconds, 400 days: a year can be compared with the one before
local CHARGED_KNOWN = 86400   -- seconds for which a charge without a hold is known as settled
local SWEEPS, SWEPT = 10, 1000 -- a second, and what is over that each forgets: no batch waits long for it
local HELD, SPENT, ESTIMATED = 2, 5, 8 -- where an amount begins in a bucket
local COUNTED_IN, COUNTED_AT, LEVEL, TOKENS_PUT_RIGHT, MONEY_PUT_RIGHT = 4, 5, 6, 7, 8 -- where they stand of a window
local LONG_AGO = -6.2e10      -- before every time that a ledger knows
local PERIODS = {minute = 60, hour = 3600, day = 86400, month = 2592000} -- seconds that rolling windows are long
-- Where what is known of a hold stands; how it has lapsed by hand.
local ACCOUNT, OUTPUT, RESERVED_AT, LEASE_ENDS, TOP_UPS, LAPSED, PARTS = 1, 2, 3, 4, 5, 6, 7
local RELEASED = 2

-- What is the server's and Lua's, by names of our own: each look into their tables costs as much as some sums. It is
-- found when the first batch is carried out, for it is not there yet while the library is loaded.
local function of_the_server()
  return redis.call, cmsgpack.pack, cmsgpack.unpack, struct.pack, struct.unpack, ipairs, next, pairs, tonumber, type,
    unpack, math.floor, math.huge, math.max, math.min, string.char, string.format, string.rep
end
local call, pack, unpacked, pack_doubles, unpacked_doubles, ipairs, next, pairs, tonumber, type, unpack, floor, huge,
  max, min, char, format, rep

-- The functions, by names that are found without a look into a table.
local begin, read, need, fetch, exactly, plus, minus, less_money, at_most, at_least, cut, put, form, doubles, window,
  sum_up, sum_of, total, is_known, last_of, bucket_of, find, figure, add, pack_windows, each_portion, write, hold_of,
  read_hold, pack_hold, need_windows, drop, amount_of, likely_of, counts_until, each_place, lapse, revive, pack_holds,
  is_settled, fields_of, write_down, write_down_lapsed, pack_journal, write_all, forget, is_over, limits, missing,
  takes, refills_at, guessed, lacks_of, count, any_by_estimate, at_output, dearest, room_of, fits, most_output, held,
  remember, lacking, rows, name_held, id_of_name, known_shapes, note_shape, index, reserve, note_count, note_levels,
  count_alone, share_kin, knows_until, kin_of, still_charged, still_standing, gone_on_without, without_lapsed,
  parts_to_adopt, add_part, use_as_before, top_up, charge_part, charge, settle, turns_of, renew, held_ids, is_below,
  siblings, note_begun, ids_below, adopt, release, state, spend, change, end_leases, first_due, find_old, forget_old,
  name, own_books, live_on, lacks, set_back, list, run
-- What one call works on; `begin` makes it anew, for a call may have ended in an error.
local K, now, tombstone, next_due, born, batches, life, lives, shapes, has_new_shapes, former
local book, sums, changed_windows, new_ends, begun, changed_holds, dropped, buried, journal, history, barred
local old_ids, old_fields
-- The ids of `begun` in their order, so many of them noted by their accounts, and these.
local begun_ids, noted_begun, begun_below

function begin(keys)
  if not call then
    call, pack, unpacked, pack_doubles, unpacked_doubles, ipairs, next, pairs, tonumber, type, unpack, floor, huge, max,
      min, char, format, rep = of_the_server()
  end
  K = keys
  -- By their fields of the book: what was read (or false), and in its place the page or hold that was made of it.
  book = {}
  lives, shapes, has_new_shapes = nil, nil, false
  sums, changed_windows, new_ends, former = {}, {}, {}, {}
  begun, changed_holds, dropped, buried, journal, history, barred = {}, {}, {}, {}, {}, {}, {}
  begun_ids, noted_begun, begun_below = {}, 0, {}
end

-- What is kept in a field of the book, or false; or what was made of it.
function read(field)
  local kept = book[field]
  if kept == nil then
    kept = call('HGET', K[1], field)
    book[field] = kept
  end
  return kept
end

-- Reads those of the fields that are not read yet, at once.
function need(fields)
  local missing = {}
  for i = 1, #fields do
    if book[fields[i]] == nil then missing[#missing + 1] = fields[i] end
  end
  each_portion(missing, fetch)
end

function fetch(fields)
  local found = call('HMGET', K[1], unpack(fields))
  for i = 1, #fields do book[fields[i]] = found[i] end
end

function exactly(number) return format('%.17g', number) end

-- Amounts

function plus(a, b)
  local usd, nano = a[2] + b[2], a[3] + b[3]
  if nano >= E9 then usd, nano = usd + 1, nano - E9 end
  return {a[1] + b[1], usd, nano}
end

function minus(a, b)
  local usd, nano = a[2] - b[2], a[3] - b[3]
  if nano < 0 then usd, nano = usd - 1, nano + E9 end
  return {a[1] - b[1], usd, nano}
end

function less_money(a, b) return a[2] < b[2] or (a[2] == b[2] and a[3] < b[3]) end

function at_most(a, b)
  local poorer = less_money(a, b) and a or b
  return {min(a[1], b[1]), poorer[2], poorer[3]}
end

function at_least(a, b)
  local richer = less_money(a, b) and b or a
  return {max(a[1], b[1]), richer[2], richer[3]}
end

-- The amount that begins at `at`.
function cut(row, at) return {row[at], row[at + 1], row[at + 2]} end

-- Adds an amount, or takes it away where the sign is -1, in place.
function put(row, at, amount, sign)
  local usd, nano = row[at + 1] + sign * amount[2], row[at + 2] + sign * amount[3]
  if nano >= E9 then
    usd, nano = usd + 1, nano - E9
  elseif nano < 0 then
    usd, nano = usd - 1, nano + E9
  end
  row[at], row[at + 1], row[at + 2] = row[at] + sign * amount[1], usd, nano
end

-- Windows. A page is what is kept of one: eight figures of it, then ten figures for each bucket: finish, held (3), spent (3),
-- estimated (3). A bucket is the place at which its figures begin. The sum of all buckets is like a bucket of its own,
-- made when the page is read, for what is kept once cannot differ from itself. Of a single bucket, which is all that
-- calendar windows have, it is that one.

local FIRST, LONG = 9, 10
local forms = {}

-- The form of so many doubles.
function form(number)
  if not forms[number] then forms[number] = '<' .. rep('d', number) end
  return forms[number]
end

function doubles(kept)
  local number = #kept / 8
  local figures = {unpacked_doubles(form(number), kept)}
  figures[number + 1] = nil -- where it stopped to read
  return figures
end

-- The page of a window.
function window(key)
  local page = book[key]
  if page == nil then page = read(key) end
  if type(page) == 'table' then return page end
  page = page and doubles(page) or {-1, -1, -1, 0, LONG_AGO, -1, LONG_AGO, LONG_AGO}
  book[key] = page
  -- What has left the window is let go.
  local place = FIRST
  while page[place] and page[place] <= now do place = place + LONG end
  if place > FIRST then
    for i = FIRST, #page do page[i] = page[i + place - FIRST] end
  end
  sum_up(page)
  return page
end

function sum_up(page)
  if #page == FIRST + LONG - 1 then
    if sums[page] then sums[page] = nil end -- else it would be entered for that
    return
  end
  local sum = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  for bucket = FIRST, #page, LONG do
    for i = HELD, LONG do sum[i] = sum[i] + page[bucket + i - 1] end
    for i = HELD, ESTIMATED, 3 do
      if sum[i + 2] >= E9 then sum[i + 1], sum[i + 2] = sum[i + 1] + 1, sum[i + 2] - E9 end
    end
  end
  sums[page] = sum
end

-- The figures of all of a window, and the place before them.
function sum_of(page)
  local sum = sums[page]
  if sum then return sum, 0 end
  return page, FIRST - 1
end

-- What is held, spent or estimated in all of a window.
function total(page, at)
  local sum, off = sum_of(page)
  return cut(sum, off + at)
end

function is_known(page) return #page > FIRST or page[1] >= 0 or page[2] >= 0 end

-- The place of the last bucket, or nil.
function last_of(page) return #page > FIRST and #page - LONG + 1 or nil end

-- Where what is reserved now is counted. A window goes on until its end, whatever a later step thinks of it.
function bucket_of(page, use)
  local last = last_of(page)
  if last and (not use[3] or use[2] <= page[last]) then return last end
  if not last then
    page[COUNTED_IN], page[COUNTED_AT], page[LEVEL] = 0, LONG_AGO, -1
    note_shape(use[1]) -- at once: what is adopted in this very batch finds it by that
  end
  last = #page + 1
  page[last] = use[2]
  for i = last + 1, last + LONG - 1 do page[i] = 0 end
  sum_up(page)
  changed_windows[use[1]], new_ends[use[1]] = page, true
  return last
end

-- The page, and the bucket in which a part of a hold is counted; none where it has left its window.
function find(key, finish)
  local page = window(key)
  for bucket = FIRST, #page, LONG do
    if page[bucket] == finish then return page, bucket end
  end
end

-- What is held, spent or estimated in a bucket.
function figure(page, bucket, at) return cut(page, bucket + at - 1) end

-- Adds to what is held, spent or estimated, in a bucket and in its window.
function add(key, page, bucket, at, amount, sign)
  local sum = sums[page]
  put(page, bucket + at - 1, amount, sign)
  if sum then put(sum, at, amount, sign) end
  changed_windows[key] = page
end

-- To `kept` what is to be written of windows; returns the ends that changed, and the windows that are over.
function pack_windows(kept)
  local ends, over = {}, {}
  for key, page in pairs(changed_windows) do
    if is_known(page) then
      kept[#kept + 1] = key
      kept[#kept + 1] = pack_doubles(form(#page), unpack(page))
      if new_ends[key] then
        local last = last_of(page)
        ends[#ends + 1] = last and page[last] or 'inf'
        ends[#ends + 1] = key
      end
    else
      over[#over + 1] = key
    end
  end
  return ends, over
end

-- The shapes of windows, each with true.
function known_shapes()
  if not shapes then
    shapes = {}
    for _, shape in ipairs(unpacked(read('~') or pack({}))) do shapes[shape] = true end
  end
  return shapes
end

-- Something is counted in a window of that name from now on.
function note_shape(key)
  local shape = key:match('^[^:]*:[^:]*')
  if shape and not known_shapes()[shape] then shapes[shape], has_new_shapes = true, true end
end

-- Calls f with some of the words at a time: `unpack` puts them all on a small stack.
function each_portion(words, f)
  if #words > 0 and #words <= 1000 then return f(words) end
  for i = 1, #words, 1000 do
    local portion = {}
    for j = i, min(i + 999, #words) do portion[#portion + 1] = words[j] end
    f(portion)
  end
end

-- One command for many things.
function write(command, key, words)
  if #words == 0 then return end
  if #words <= 1000 then return call(command, key, unpack(words)) end
  each_portion(words, function(portion) call(command, key, unpack(portion)) end)
end

-- Holds. One is what is kept of it. A part is {amount, {key, finish, key, finish, ...}, by estimate}: what was reserved
-- at one time, and where it is counted. The first part is by the bound, if in no window.

-- The hold, or nil. An id is held or settled, never both: of what is settled there are digits in its place.
function hold_of(id)
  local hold = book[id]
  if hold == nil then hold = read(id) end
  if type(hold) == 'string' then
    if tonumber(hold) then return nil end
    hold = read_hold(hold)
    book[id] = hold
  end
  return hold or nil
end

function read_hold(kept)
  -- Without the head of the array.
  local flat = {unpacked(kept:sub(kept:byte() == 0xdc and 4 or 2))}
  local parts, at = {}, PARTS
  while flat[at] ~= nil do
    local last = at + 4 + flat[at + 4]
    parts[#parts + 1] = {cut(flat, at + 1), {unpack(flat, at + 5, last)}, flat[at]}
    at = last + 1
  end
  return {flat[1], flat[2], flat[3], flat[4], flat[5], flat[6], parts}
end

function pack_hold(hold)
  local parts = hold[PARTS]
  local amount, places = parts[1][1], parts[1][2]
  if #parts == 1 and #places > 4 and #places < 200 then
    -- Value by value behind the head of an array: that costs a third of a table.
    return '\220\0' .. char(11 + #places) .. pack(hold[1], hold[2], hold[3], hold[4], hold[5], hold[6], parts[1][3],
      amount[1], amount[2], amount[3], #places, unpack(places))
  end
  local flat = {hold[1], hold[2], hold[3], hold[4], hold[5], hold[6], parts[1][3], amount[1], amount[2], amount[3],
    #places, unpack(places)}
  for i = 2, #parts do
    amount, places = parts[i][1], parts[i][2]
    local row = {parts[i][3], amount[1], amount[2], amount[3], #places, unpack(places)}
    for j = 1, #row do flat[#flat + 1] = row[j] end
  end
  return pack(flat)
end

-- The windows in which a hold counts are read at once, with other fields, behind which theirs are put.
function need_windows(hold, fields)
  local parts = hold[PARTS]
  for i = 1, #parts do
    local places = parts[i][2]
    for j = 1, #places, 2 do fields[#fields + 1] = places[j] end
  end
  need(fields)
end

function drop(id)
  book[id], dropped[id] = false, book[id]
  if changed_holds[id] then changed_holds[id] = nil end
end

-- What is held stands side by side by its account, in the order of bytes: account, 0, '#' id, and the length of the
-- account, for either may have any characters. So those of an account and of all below it are found without the others.
function name_held(id, hold)
  local account = hold[ACCOUNT]
  return account .. '\0' .. id .. pack_doubles('<I4', #account)
end

function id_of_name(name) return name:sub(unpacked_doubles('<I4', name, #name - 3) + 2, -5) end

-- All that it holds by the bound.
function amount_of(hold)
  local parts = hold[PARTS]
  local sum = parts[1][1]
  for i = 2, #parts do
    if not parts[i][3] then sum = plus(sum, parts[i][1]) end
  end
  return sum
end

-- The same by the estimate; false where no window counts it by that.
function likely_of(hold)
  local parts, sum = hold[PARTS], false
  for i = 2, #parts do
    if parts[i][3] then sum = sum and plus(sum, parts[i][1]) or parts[i][1] end
  end
  return sum
end

function counts_until(hold)
  local latest = 0
  for _, part in ipairs(hold[PARTS]) do
    local places = part[2]
    for i = 2, #places, 2 do latest = max(latest, places[i]) end
  end
  return latest
end

-- Calls f(part's amount, key, page, bucket) wherever the hold still counts.
function each_place(hold, f)
  need_windows(hold, {})
  for _, part in ipairs(hold[PARTS]) do
    local places = part[2]
    for i = 1, #places, 2 do
      local page, bucket = find(places[i], places[i + 1])
      if bucket then f(part[1], places[i], page, bucket) end
    end
  end
end

-- Charges a hold in full: nobody knows what became of its call.
function lapse(id, hold, how)
  hold[LAPSED] = how or true
  each_place(hold, function(amount, key, page, bucket)
    add(key, page, bucket, HELD, amount, -1)
    add(key, page, bucket, SPENT, amount, 1)
    add(key, page, bucket, ESTIMATED, amount, 1)
  end)
  write_down_lapsed(hold, 1)
  changed_holds[id] = hold
end

-- What is still charged in a window of a hold that lapsed: nothing of a unit that was put right by hand since.
function still_charged(page, hold, amount)
  local ended = hold[LEASE_ENDS]
  local money = ended > page[MONEY_PUT_RIGHT]
  return {ended > page[TOKENS_PUT_RIGHT] and amount[1] or 0, money and amount[2] or 0, money and amount[3] or 0}
end

-- Counts a lapsed hold as held again. Where what is spent was put right by hand with its charge in it, nothing of that
-- is taken away, for what is estimated there by now was charged to others.
function revive(hold)
  write_down_lapsed(hold, -1)
  hold[LAPSED] = false
  each_place(hold, function(amount, key, page, bucket)
    local back = at_most(still_charged(page, hold, amount), figure(page, bucket, ESTIMATED))
    add(key, page, bucket, HELD, amount, 1)
    add(key, page, bucket, SPENT, back, -1)
    add(key, page, bucket, ESTIMATED, back, -1)
  end)
end

-- To `kept` what is to be written of holds and settled ids; returns when which of them are due, what is over, and the
-- names of what is held from now on and is not any more.
function pack_holds(kept)
  local due, over = {}, {}
  for id, hold in pairs(changed_holds) do
    kept[#kept + 1] = id
    kept[#kept + 1] = pack_hold(hold)
    local at = hold[LAPSED] and counts_until(hold) or hold[LEASE_ENDS]
    due[#due + 1] = at
    due[#due + 1] = id
    next_due = min(next_due, at)
  end
  for id, known_until in pairs(buried) do
    kept[#kept + 1] = id
    kept[#kept + 1] = known_until
    due[#due + 1] = -known_until
    due[#due + 1] = id
  end
  for id in pairs(dropped) do
    if not buried[id] and not changed_holds[id] then over[#over + 1] = id end
  end
  local new, gone = {}, {}
  for id, hold in pairs(begun) do
    if dropped[id] ~= hold then new[#new + 1], new[#new + 2] = 0, name_held(id, hold) end
  end
  for id, hold in pairs(dropped) do
    if begun[id] ~= hold then gone[#gone + 1] = name_held(id, hold) end
  end
  return due, over, new, gone
end

-- Settled ids, the journal and the history

function is_settled(id)
  if buried[id] then return true end
  local kept = read(id)
  local known_until = type(kept) == 'string' and tonumber(kept)
  return known_until and known_until > now
end

-- Where the journal has a charge of that time, and the quarter of that.
function fields_of(account, spent, at)
  local quarter, fields = floor(at / QUARTER) * QUARTER, {}
  for i, one in ipairs(spent) do fields[i] = '$' .. pack({quarter, account, one[1], one[2]}) end
  return fields, quarter
end

-- Adds a call's charge in its fields, or takes it back where the sign is -1.
function write_down(fields, quarter, spent, sign)
  for i, one in ipairs(spent) do
    local field = fields[i]
    local line = journal[field]
    if not line then
      local kept = read(field)
      line = {quarter = quarter, kept = kept, sums = kept and doubles(kept) or {0, 0, 0, 0, 0, 0, 0, 0, 0}}
      journal[field] = line
    end
    -- One more call; attempts and five kinds of tokens; USD and nano-USD.
    local sums = line.sums
    sums[1] = sums[1] + sign
    for i = 2, 9 do sums[i] = sums[i] + sign * one[i + 1] end
    if sums[9] >= E9 then
      sums[8], sums[9] = sums[8] + 1, sums[9] - E9
    elseif sums[9] < 0 then
      sums[8], sums[9] = sums[8] - 1, sums[9] + E9
    end
  end
end

-- The charge of a lapsed hold, at no target that anybody knows.
function write_down_lapsed(hold, sign)
  local amount = amount_of(hold)
  local output = min(hold[OUTPUT], amount[1])
  local spent = {{'', true, 0, amount[1] - output, 0, 0, output, 0, amount[2], amount[3]}}
  local fields, quarter = fields_of(hold[ACCOUNT], spent, hold[RESERVED_AT])
  write_down(fields, quarter, spent, sign)
end

-- To `kept` what is to be written of the journal; returns its new quarters.
function pack_journal(kept)
  local quarters = {}
  for field, line in pairs(journal) do
    kept[#kept + 1] = field
    kept[#kept + 1] = pack_doubles(form(9), unpack(line.sums))
    if not line.kept then
      quarters[#quarters + 1] = line.quarter
      quarters[#quarters + 1] = field
    end
  end
  return quarters
end

-- All that has changed. A key of a wrong type is found before anything is written: the book is read by then, what is
-- due is written first, and the others, written seldom, are looked at before.
function write_all()
  for _, key in ipairs(former) do
    if book[key] and not changed_windows[key] then changed_windows[key], new_ends[key] = window(key), true end
  end
  local kept, rows = {'', ''}, {}
  local due, over, new, gone = pack_holds(kept)
  local ends, ended = pack_windows(kept)
  local quarters = pack_journal(kept)
  for i, row in ipairs(history) do rows[i] = pack(row) end
  batches = batches + 1
  kept[2] = pack_doubles('<dddddd', VERSION, now, tombstone, next_due, born, batches) .. life
  if lives then kept[#kept + 1], kept[#kept + 2] = '!', pack(lives) end
  if has_new_shapes then
    local all = {}
    for shape in pairs(shapes) do all[#all + 1] = shape end
    kept[#kept + 1], kept[#kept + 2] = '~', pack(all)
  end
  if #ends + #ended > 0 then call('ZCARD', K[2]) end
  if #over > 0 or #new > 0 then call('ZCARD', K[3]) end
  if #gone > 0 and #new == 0 then call('ZCARD', K[6]) end
  if #rows > 0 then call('LLEN', K[4]) end
  if #quarters > 0 then call('ZCARD', K[5]) end

  -- One that is dropped and begun again in one batch may be of the same name.
  write('ZREM', K[6], gone)
  write('ZADD', K[6], new)
  write('ZADD', K[3], due)
  write('HSET', K[1], kept)
  write('ZADD', K[2], ends)
  write('ZADD', K[5], quarters)
  write('RPUSH', K[4], rows)
  if #rows > 0 then call('LTRIM', K[4], -MOST_HISTORY, -1) end
  forget(K[3], over)
  forget(K[2], ended)
end

-- Fields of the book, and of the sorted set that says when they are over.
function forget(set, fields)
  write('ZREM', set, fields)
  write('HDEL', K[1], fields)
end

-- Room. A use is {key, finish, rolling, limit tokens, limit USD, limit nano-USD, by estimate}: a window with the limits
-- that count in it, and by which of its two amounts a hold does.

function is_over(uses)
  for _, use in ipairs(uses) do
    if use[2] <= now then return true end
  end
  return false
end

-- Tokens, USD and nano-USD. A limit that was set by hand goes before that of the step, and where there is none in its
-- unit it limits nothing.
function limits(use, page)
  local tokens, usd, nano = use[4], use[5], use[6]
  if tokens and page[1] >= 0 then tokens = page[1] end
  if usd and page[2] >= 0 then usd, nano = page[2], page[3] end
  return tokens, usd, nano
end

-- How much of `need` is not free beside what is spent, and held unless `but_holds`; nil where it fits. Where more was
-- charged than there is, nothing fits. `spent`: as if so much were.
function missing(use, page, need, but_holds, spent)
  local sum, off = sum_of(page)
  local tokens, usd, nano = need[1], need[2], need[3]
  if spent then
    tokens, usd, nano = tokens + spent[1], usd + spent[2], nano + spent[3]
  else
    tokens, usd, nano = tokens + sum[off + 5], usd + sum[off + 6], nano + sum[off + 7]
  end
  if not but_holds then tokens, usd, nano = tokens + sum[off + 2], usd + sum[off + 3], nano + sum[off + 4] end
  local most, most_usd, most_nano = limits(use, page)
  local lack
  if most and tokens > most then lack = {tokens - most, 0, 0} end
  if most_usd then
    local above = nano % E9
    usd, nano = usd + (nano - above) / E9, above
    if usd > most_usd or (usd == most_usd and nano > most_nano) then
      lack = minus({lack and lack[1] or 0, usd, nano}, {0, most_usd, most_nano})
    end
  end
  return lack
end

-- Whether it fits all of them: asked for every reserve, `lacks_of` where it does not.
function takes(uses, need, likely)
  for i = 1, #uses do
    local use = uses[i]
    if missing(use, window(use[1]), use[7] and likely or need, false) then return false end
  end
  return true
end

-- When it would fit with every hold released, as one bucket after the other leaves the window.
function refills_at(use, page, need)
  local left = total(page, SPENT)
  for bucket = FIRST, #page, LONG do
    put(left, 1, figure(page, bucket, SPENT), -1)
    if not missing(use, page, need, true, left) then return page[bucket] end
  end
  return false
end

-- An estimate is {amount}, or {false, lines, output}: worked out where it is asked for, which is seldom.
function guessed(guess)
  guess[1] = guess[1] or dearest(guess[2], guess[3])
  return guess[1]
end

-- Where there is no room: {key, limits, missing, missing with every hold released, refills at, frees at, missing by the
-- other amount, by estimate}; and whether there would be none with every hold released.
function lacks_of(uses, need, guess)
  local lacks, hopeless = {}, false
  for _, use in ipairs(uses) do
    local page, by_estimate = window(use[1]), use[7]
    local own = by_estimate and guessed(guess) or need
    local lack = missing(use, page, own, false)
    if lack then
      local tokens, usd, nano = limits(use, page)
      local of_spent = missing(use, page, own, true) or false
      hopeless = hopeless or of_spent ~= false
      local refills = of_spent and refills_at(use, page, own)
      local other = by_estimate and need or guessed(guess)
      local otherwise = missing(use, page, other, of_spent ~= false) or false
      local frees = page[FIRST] or false
      lacks[#lacks + 1] = {use[1], tokens, usd and {usd, nano}, lack, of_spent, refills, frees, otherwise, by_estimate}
    end
  end
  return lacks, hopeless
end

-- Counts an amount as held in the windows by estimate, in those by the bound, or in all (nil); returns the places:
-- {key, finish, key, finish, ...}.
function count(uses, amount, by_estimate)
  local places = {}
  for i = 1, #uses do
    local use = uses[i]
    if by_estimate == nil or use[7] == by_estimate then
      local key = use[1]
      local page = window(key)
      local bucket = bucket_of(page, use)
      add(key, page, bucket, HELD, amount, 1)
      places[#places + 1] = key
      places[#places + 1] = page[bucket]
    end
  end
  return places
end

-- The period and account of a window, as one word.
local kins, known_kins = {}, 0
function kin_of(key)
  local kin = kins[key]
  if not kin then
    -- The library lives as long as the server: beyond so many all are forgotten.
    if known_kins >= 10000 then kins, known_kins = {}, 0 end
    local period, whose = key:match('^([^:]*):[^:]*:(.*)$')
    kin = period and period .. ':' .. whose or key
    kins[key], known_kins = kin, known_kins + 1
  end
  return kin
end

-- Something new is counted in these windows, by one step.
function note_count(uses)
  local shared = share_kin(uses)
  if shared then note_levels(uses) end
  for i = 1, #uses do
    local page = window(uses[i][1])
    if not shared then count_alone(page) end
    page[COUNTED_IN], page[COUNTED_AT] = batches + 1, now
  end
end

-- True where some of them count the same period of one account.
function share_kin(uses)
  for i = 2, #uses do
    local kin = kin_of(uses[i][1])
    for j = 1, i - 1 do
      if kin_of(uses[j][1]) == kin then return true end
    end
  end
  return false
end

-- Before something is counted in them: one that was left out where another of its kin was counted goes on as one that
-- has missed that, until it is adopted. One that begins has missed nothing.
function note_levels(uses)
  for _, use in ipairs(uses) do
    local page, latest = window(use[1]), nil
    for _, other in ipairs(uses) do
      if other ~= use and kin_of(other[1]) == kin_of(use[1]) then
        latest = max(latest or 0, window(other[1])[COUNTED_IN])
      end
    end
    if latest then
      local begins = page[LEVEL] < 0 and page[COUNTED_AT] == LONG_AGO
      local known = knows_until(page)
      page[LEVEL] = (begins or known >= latest) and -1 or known
    else
      count_alone(page)
    end
  end
end

-- Something is about to be counted in it alone: one that has missed something goes on like that.
function count_alone(page)
  if page[LEVEL] >= page[COUNTED_IN] then page[LEVEL] = -1 end
end

-- The batch up to which a window has missed nothing.
function knows_until(page) return page[LEVEL] >= 0 and page[LEVEL] or page[COUNTED_IN] end

function any_by_estimate(uses)
  for i = 1, #uses do
    if uses[i][7] then return true end
  end
  return false
end

-- Lines: {input tokens, input USD, input nano-USD, rate / 10^6, rate % 10^6, most output}, the rate in nano-USD per
-- million tokens. It comes in two parts because output * rate is more than a double holds.

-- Tokens, USD and nano-USD that a line costs at most at an output.
function at_output(line, output)
  local given = output
  if line[6] < given then given = line[6] end
  local fine = given * line[5]
  local rest = fine % E6
  local nano = given * line[4] + (fine - rest) / E6
  if rest > 0 then nano = nano + 1 end -- rounded up
  local above = nano % E9
  local usd = line[2] + (nano - above) / E9
  above = line[3] + above
  if above >= E9 then usd, above = usd + 1, above - E9 end
  return line[1] + given, usd, above
end

function dearest(lines, output)
  local most = {0, 0, 0}
  for _, line in ipairs(lines) do
    local tokens, usd, nano = at_output(line, output)
    if tokens > most[1] then most[1] = tokens end
    if usd > most[2] or (usd == most[2] and nano > most[3]) then most[2], most[3] = usd, nano end
  end
  return most
end

-- What is free in all windows by estimate, or in all by the bound.
function room_of(uses, by_estimate)
  local room = {}
  for _, use in ipairs(uses) do
    if use[7] == by_estimate then
      local page = window(use[1])
      local tokens, usd, nano = limits(use, page)
      local used = plus(total(page, HELD), total(page, SPENT))
      if tokens then room.tokens = min(room.tokens or huge, tokens - used[1]) end
      if usd then
        local free = minus({0, usd, nano}, used)
        if not room.money or less_money(free, room.money) then room.money = free end
      end
    end
  end
  return room
end

function fits(line, output, room)
  local tokens, usd, nano = at_output(line, output)
  if room.tokens and tokens > room.tokens then return false end
  local money = room.money
  return not money or usd < money[2] or (usd == money[2] and nano <= money[3])
end

-- The largest output from `least`, which fits, to `most` at which every line fits: halving, so that each figure on the
-- way is one that is compared exactly.
function most_output(lines, room, least, most)
  for _, line in ipairs(lines) do
    local top = min(most, line[6])
    if not fits(line, top, room) then
      local low, high = least, top
      while high - low > 1 do
        local middle = floor((low + high) / 2)
        if fits(line, middle, room) then low = middle else high = middle end
      end
      most = low
    end
  end
  return most
end

-- Steps. Answers: 1 held, 2 lacking, 3 charged, 4 known, 5 stale, 6 changed, 7 released.

local KNOWN, STALE = {4}, {5}

function held(hold) return {1, hold[OUTPUT], amount_of(hold), likely_of(hold)} end

function remember(lease)
  if lease > tombstone and lease < huge then tombstone = lease end
end

-- What is in the way of the least that a reserve would be content with; nil where there is room for it.
function lacking(uses, lines, likely, least, waits)
  local amount, guess = dearest(lines, least), {false, likely, least}
  local lacks, hopeless = lacks_of(uses, amount, guess)
  local behind = {}
  for _, use in ipairs(uses) do
    if barred[use[1]] then behind[#behind + 1] = use[1] end
  end
  if #lacks == 0 and #behind == 0 then return nil end
  if waits and not hopeless then
    for _, lack in ipairs(lacks) do barred[lack[1]] = true end
  end
  local shortest, would_fit = min(least, 1), true
  amount, guess = dearest(lines, shortest), {false, likely, shortest}
  for _, use in ipairs(uses) do
    local need = use[7] and guessed(guess) or amount
    if missing(use, window(use[1]), need, hopeless) then would_fit = false end
  end
  return {2, lacks, behind, would_fit}
end

-- So many rows of a width, which stand in a step one after the other from `at` on; and what comes behind them.
function rows(step, at, number, width)
  local rows = {}
  for i = 1, number do
    if width == 7 then -- as uses, of which every call has some: made in half of the time
      rows[i] = {step[at], step[at + 1], step[at + 2], step[at + 3], step[at + 4], step[at + 5], step[at + 6]}
    else
      rows[i] = {unpack(step, at, at + width - 1)}
    end
    at = at + width
  end
  return rows, at
end

-- {1, id, account, least output, most, lease, waits, numbers of uses, of lines and of those of the estimate, and these}
function reserve(step)
  local id, account, least, most, lease, waits = step[2], step[3], step[4], step[5], step[6], step[7]
  local uses, at = rows(step, 11, step[8], 7)
  local lines, likely
  lines, at = rows(step, at, step[9], 6)
  if step[10] > 0 then likely = rows(step, at, step[10], 6) else likely = lines end
  local known = hold_of(id)
  if known then return held(known) end
  if is_settled(id) then return KNOWN end
  if is_over(uses) then return STALE end
  local output, amount, guessing = most, dearest(lines, most), any_by_estimate(uses)
  local guess = guessing and dearest(likely, most)
  if next(barred) or not takes(uses, amount, guess) then
    local lacking = lacking(uses, lines, likely, least, waits)
    if lacking then return lacking end
    if least < most then
      output = most_output(lines, room_of(uses, false), least, most)
      if guessing then output = most_output(likely, room_of(uses, true), least, output) end
    end
    amount, guess = dearest(lines, output), guessing and dearest(likely, output)
  end
  local parts = {{amount, count(uses, amount, false), false}}
  if guessing then parts[2] = {guess, count(uses, guess, true), true} end
  note_count(uses)
  -- In the order of ACCOUNT to PARTS.
  local hold = {account, output, now, now + lease, 0, false, parts}
  remember(lease)
  book[id], changed_holds[id], begun[id], begun_ids[#begun_ids + 1] = hold, hold, hold, id
  return held(hold)
end

-- Adds to the last part of its kind, where it is counted in the same places, or stands beside it.
function add_part(hold, part)
  local parts = hold[PARTS]
  for i = #parts, 1, -1 do
    if parts[i][3] == part[3] then
      local known, places = parts[i][2], part[2]
      local alike = #places == #known
      for j, place in ipairs(places) do alike = alike and place == known[j] end
      if alike then
        parts[i][1] = plus(parts[i][1], part[1])
        return
      end
      break
    end
  end
  parts[#parts + 1] = part
end

-- More of a hold counts in each window as the hold did before, where it did. By its estimate only where it has one:
-- what was reserved for windows by the bound alone has none.
function use_as_before(hold, uses)
  local guessing, ways = likely_of(hold) ~= false, {}
  for _, part in ipairs(hold[PARTS]) do
    for i = 1, #part[2], 2 do ways[part[2][i]] = part[3] end
  end
  for _, use in ipairs(uses) do
    if ways[use[1]] ~= nil then use[7] = ways[use[1]] else use[7] = use[7] and guessing end
  end
end

function top_up(step)
  local id, number, uses, more, likely = step[2], step[3], step[4], step[5], step[6]
  local hold = hold_of(id)
  if not hold then return KNOWN end
  if number <= hold[TOP_UPS] then return held(hold) end
  if is_over(uses) then return STALE end
  use_as_before(hold, uses)
  local lacks = lacks_of(uses, more, {likely})
  if #lacks > 0 then return {2, lacks, {}, false} end
  local released = hold[LAPSED] == RELEASED
  if hold[LAPSED] then
    revive(hold)
    hold[LEASE_ENDS] = now -- then it lapses again, after all that was put right by hand until now
  end
  hold[TOP_UPS] = number
  add_part(hold, {more, count(uses, more, false), false})
  if any_by_estimate(uses) then add_part(hold, {likely, count(uses, likely, true), true}) end
  note_count(uses)
  if released then lapse(id, hold, RELEASED) end
  changed_holds[id] = hold
  return held(hold)
end

-- Of a hold of one part, as nearly every one is.
function charge_part(part, charged, estimated)
  local amount, places = part[1], part[2]
  for i = 1, #places, 2 do
    local page, bucket = find(places[i], places[i + 1])
    if bucket then
      add(places[i], page, bucket, HELD, amount, -1)
      add(places[i], page, bucket, SPENT, charged, 1)
      if estimated then add(places[i], page, bucket, ESTIMATED, charged, 1) end
    end
  end
end

-- In each window each part takes what it held there; the last one all the rest.
function charge(parts, charged, estimated)
  if #parts == 1 then return charge_part(parts[1], charged, estimated) end
  local last, left = {}, {}
  for i, part in ipairs(parts) do
    for j = 1, #part[2], 2 do last[part[2][j]] = i end
  end
  for i, part in ipairs(parts) do
    local places = part[2]
    for j = 1, #places, 2 do
      local key = places[j]
      local rest = left[key] or charged
      local share = last[key] == i and rest or at_most(rest, part[1])
      left[key] = minus(rest, share)
      local page, bucket = find(key, places[j + 1])
      if bucket then
        add(key, page, bucket, HELD, part[1], -1)
        add(key, page, bucket, SPENT, share, 1)
        if estimated then add(key, page, bucket, ESTIMATED, share, 1) end
      end
    end
  end
end

-- {3, id, account, estimated, tells, numbers of uses and of what was spent, tokens, USD, nano-USD, and the former}
function settle(step)
  local id, account, estimated, tells, charged = step[2], step[3], step[4], step[5], cut(step, 8)
  local uses, at = rows(step, 11, step[6], 7)
  local spent = rows(step, at, step[7], 10)
  local hold = hold_of(id)
  -- An id is held or settled, never both.
  if not hold and is_settled(id) then return KNOWN end
  if not hold and is_over(uses) then return STALE end
  -- A charge that needs no hold is known for longer: its answer may be lost, and the store away meanwhile. Also where it
  -- has one: sent again once that is gone, it is charged without.
  buried[id] = now + (#uses > 0 and max(tombstone, CHARGED_KNOWN) or tombstone)
  local fields, quarter = fields_of(hold and hold[ACCOUNT] or account, spent, now)
  if hold then need_windows(hold, fields) end
  write_down(fields, quarter, spent, 1)
  if hold then
    drop(id)
    if hold[LAPSED] then revive(hold) end
  elseif #uses > 0 then
    local nothing = {0, 0, 0}
    hold = {account, 0, now, now, 0, false, {{nothing, count(uses, nothing), false}}}
    note_count(uses)
  else
    return KNOWN
  end
  local turns = tells and turns_of(hold) or {}
  charge(hold[PARTS], charged, estimated)
  for _, turn in ipairs(turns) do turn[3] = total(window(turn[1]), SPENT) end
  return {3, amount_of(hold), turns}
end

-- Of each window in which a hold counts: {key, spent before, spent after (not known yet), end, limits by hand}.
function turns_of(hold)
  local turns, seen = {}, {}
  for _, part in ipairs(hold[PARTS]) do
    local places = part[2]
    for i = 1, #places, 2 do
      local key = places[i]
      local page = window(key)
      local last = last_of(page)
      if last and not seen[key] then
        seen[key] = true
        local tokens, money = page[1] >= 0 and page[1], page[2] >= 0 and {page[2], page[3]}
        turns[#turns + 1] = {key, total(page, SPENT), false, page[last], tokens, money}
      end
    end
  end
  return turns
end

function renew(step)
  local ids, lease = step[2], step[3]
  remember(lease)
  for _, id in ipairs(ids) do
    local hold = hold_of(id)
    if hold and hold[LAPSED] ~= RELEASED then
      if hold[LAPSED] then revive(hold) end
      hold[LEASE_ENDS] = now + lease
      changed_holds[id] = hold
    end
  end
  return KNOWN
end

-- Those of all holds.
function held_ids() return call('ZRANGEBYSCORE', K[3], 0, '+inf') end

function is_below(account, parent)
  return parent == '' or account == parent or account:sub(1, #parent + 1) == parent .. '/'
end

local function counts_in(places, key)
  for i = 1, #places, 2 do
    if places[i] == key then return true end
  end
  return false
end

-- The names that windows of the same account and period may have, but for its own.
function siblings(key)
  local period, whose = key:match('^([^:]*):[^:]*:(.*)$')
  local names = {}
  for shape in pairs(known_shapes()) do
    local name = shape .. ':' .. whose
    if name ~= key and shape:match('^[^:]*') == period then names[#names + 1] = name end
  end
  return names
end

-- Notes by its account, and by each above it, what was begun in this batch since it was last asked for.
function note_begun()
  for i = noted_begun + 1, #begun_ids do
    local id = begun_ids[i]
    local account = begun[id][ACCOUNT]
    local function note(parent)
      local ids = begun_below[parent] or {}
      begun_below[parent] = ids
      ids[#ids + 1] = id
    end
    note('')
    if account ~= '' then note(account) end
    local slash = account:find('/', 1, true)
    while slash do
      note(account:sub(1, slash - 1))
      slash = account:find('/', slash + 1, true)
    end
  end
  noted_begun = #begun_ids
end

-- Of an account and all below it: those that the server has, and those that are begun in this very batch.
function ids_below(account)
  local names
  if account == '' then
    names = call('ZRANGE', K[6], 0, -1)
  else
    names = call('ZRANGEBYLEX', K[6], '[' .. account .. '\0', '(' .. account .. '\1')
    local below = call('ZRANGEBYLEX', K[6], '[' .. account .. '/', '(' .. account .. '0') -- 0 is what follows /
    for i = 1, #below do names[#names + 1] = below[i] end
  end
  for i = 1, #names do names[i] = id_of_name(names[i]) end
  note_begun()
  for _, id in ipairs(begun_below[account] or {}) do names[#names + 1] = id end
  return names
end

-- What of holds does not count in a window and should: {id, hold, part} of each. One that lapsed before its span was
-- charged before. What was reserved in that very window before stays where it was.
function parts_to_adopt(use, holds, begins)
  local found = {}
  for _, one in ipairs(holds) do
    local hold = one[2]
    local latest = hold[TOP_UPS] > 0 and hold[LEASE_ENDS] or hold[RESERVED_AT]
    if not hold[LAPSED] or latest >= begins then
      local its = {unpack(use, 1, 7)}
      use_as_before(hold, {its})
      for _, part in ipairs(hold[PARTS]) do
        if part[3] == its[7] and not counts_in(part[2], use[1]) then found[#found + 1] = {one[1], hold, part} end
      end
    end
  end
  return found
end

-- Of these names the windows in which something was counted since then that this one has missed.
function gone_on_without(page, names, begins)
  local known, found = knows_until(page), {}
  for _, name in ipairs(names) do
    local other = window(name)
    if last_of(other) and other[COUNTED_AT] >= begins and (other[COUNTED_IN] > known or not last_of(page)) then
      found[#found + 1] = name
    end
  end
  return found
end

-- What a lapsed hold is still charged of that amount in any of the windows of these names: what was put right by hand in
-- all that have it is not charged again. Where none of them has it any more, nobody put it right.
function still_standing(hold, amount, names)
  local most
  each_place(hold, function(_, key, page)
    for _, name in ipairs(names) do
      if name == key then most = at_least(still_charged(page, hold, amount), most or {0, 0, 0}) end
    end
  end)
  return most or amount
end

-- What is spent in spans of a window that end behind a time, but for what lapsed holds are charged there. Of a calendar
-- window that was counted in since then, all.
function without_lapsed(key, begins, holds)
  local page, counted, spent = window(key), {}, {0, 0, 0}
  local period = key:match('^[^:]*:rolling:') and PERIODS[key:match('^[^:]*')] or 0
  for bucket = FIRST, #page, LONG do
    if period == 0 or page[bucket] - period > begins then
      counted[page[bucket]] = true
      spent = plus(spent, figure(page, bucket, SPENT))
    end
  end
  for _, one in ipairs(holds) do
    local hold = one[2]
    if hold[LAPSED] then
      for _, part in ipairs(hold[PARTS]) do
        local places = part[2]
        for i = 1, #places, 2 do
          if places[i] == key and counted[places[i + 1]] then
            spent = minus(spent, still_charged(page, hold, part[1]))
          end
        end
      end
    end
  end
  return at_least(spent, {0, 0, 0})
end

-- {5, account, use, begin of its span, or false where that is so many seconds before now, or nothing of that}
-- What it looks at are the account's own windows and holds, and those below it: each account may be new at any time.
function adopt(step)
  local account, use, begins = step[2], step[3], step[4]
  local page = window(use[1])
  if is_over({use}) then return STALE end
  if not begins then begins = now - (PERIODS[use[1]:match('^[^:]*')] or huge) end
  local names, holds = siblings(use[1]), {}
  need(names)
  local others = gone_on_without(page, names, begins)
  local ids = ids_below(account)
  need(ids)
  local seen = {}
  for _, id in ipairs(ids) do
    local hold = hold_of(id)
    if hold and not seen[id] and is_below(hold[ACCOUNT], account) then holds[#holds + 1], seen[id] = {id, hold}, true end
  end
  local parts = parts_to_adopt(use, holds, begins)
  local known = last_of(page)
  if known and #others == 0 and #parts == 0 then return KNOWN end
  local most = {0, 0, 0}
  for _, name in ipairs(others) do
    local spent, at = without_lapsed(name, begins, holds), window(name)[COUNTED_AT]
    -- What is older than a correction by hand is in that.
    if at <= page[TOKENS_PUT_RIGHT] then spent[1] = 0 end
    if at <= page[MONEY_PUT_RIGHT] then spent[2], spent[3] = 0, 0 end
    most = at_least(most, spent)
  end
  local missed = {0, 0, 0}
  if #others > 0 then missed = at_least(minus(most, without_lapsed(use[1], -huge, holds)), missed) end
  local bucket = bucket_of(page, use)
  add(use[1], page, bucket, SPENT, missed, 1)
  for _, name in ipairs(others) do
    local other = window(name)
    if other[COUNTED_IN] > page[COUNTED_IN] or page[COUNTED_AT] == LONG_AGO then
      page[COUNTED_IN], page[COUNTED_AT] = other[COUNTED_IN], other[COUNTED_AT]
    end
    page[LEVEL] = -1
  end
  if #others == 0 and not known then page[LEVEL] = batches + 1 end
  local tokens_at, money_at = page[TOKENS_PUT_RIGHT], page[MONEY_PUT_RIGHT]
  for _, one in ipairs(parts) do
    local id, hold, part = one[1], one[2], one[3]
    local amount, places = part[1], part[2]
    places[#places + 1] = use[1]
    places[#places + 1] = page[bucket]
    if hold[LAPSED] then
      local charged = still_charged(page, hold, still_standing(hold, amount, names))
      add(use[1], page, bucket, SPENT, charged, 1)
      add(use[1], page, bucket, ESTIMATED, charged, 1)
      -- As if it was put right by hand since, which is known here when all are charged.
      local ended = hold[LEASE_ENDS]
      if charged[1] < amount[1] then tokens_at = max(tokens_at, ended) end
      if less_money(charged, amount) then money_at = max(money_at, ended) end
    else
      add(use[1], page, bucket, HELD, amount, 1)
    end
    changed_holds[id] = hold
  end
  page[TOKENS_PUT_RIGHT], page[MONEY_PUT_RIGHT] = tokens_at, money_at
  return KNOWN
end

function release(step)
  local id, reason = step[2], step[3]
  local hold = hold_of(id)
  if not hold then return KNOWN end
  local amount = amount_of(hold)
  if not hold[LAPSED] then
    hold[LEASE_ENDS] = min(hold[LEASE_ENDS], now)
    lapse(id, hold, RELEASED)
  end
  hold[LAPSED] = RELEASED
  changed_holds[id] = hold
  history[#history + 1] = {now, 'release', hold[ACCOUNT], id:sub(2), reason, {amount}}
  return {7, amount}
end

-- What is spent, and the limits that count.
function state(use, page)
  local tokens, usd, nano = limits(use, page)
  return {total(page, SPENT), tokens, usd and {usd, nano}}
end

-- Corrects what is spent: the newest buckets first, so that no bucket goes below nothing.
function spend(page, use, wanted)
  local change, nothing = minus(wanted, total(page, SPENT)), {0, 0, 0}
  if change[1] == 0 and change[2] == 0 and change[3] == 0 then return end
  local key = use[1]
  add(key, page, bucket_of(page, use), SPENT, at_least(change, nothing), 1)
  local less = minus(nothing, at_most(change, nothing))
  for bucket = last_of(page), FIRST, -LONG do
    local share = at_most(figure(page, bucket, SPENT), less)
    add(key, page, bucket, SPENT, share, -1)
    -- An estimate is part of what is spent.
    local guessed = figure(page, bucket, ESTIMATED)
    add(key, page, bucket, ESTIMATED, minus(guessed, at_most(guessed, figure(page, bucket, SPENT))), -1)
    less = minus(less, share)
  end
end

function change(step)
  local account, use, reset, limit_tokens, limit_money = step[2], step[3], step[4], step[5], step[6]
  local spent_tokens, spent_money, reason = step[7], step[8], step[9]
  if is_over({use}) then return STALE end
  local page = window(use[1])
  local before, wanted = state(use, page), total(page, SPENT)
  if reset then
    page[1], page[2], page[3] = -1, -1, -1
    wanted = {0, 0, 0}
  end
  if limit_tokens then page[1] = limit_tokens end
  if limit_money then page[2], page[3] = limit_money[1], limit_money[2] end
  if spent_tokens then wanted[1] = spent_tokens end
  if spent_money then wanted[2], wanted[3] = spent_money[1], spent_money[2] end
  local is = total(page, SPENT)
  if wanted[1] ~= is[1] then page[TOKENS_PUT_RIGHT] = now end
  if wanted[2] ~= is[2] or wanted[3] ~= is[3] then page[MONEY_PUT_RIGHT] = now end
  spend(page, use, wanted)
  -- All that others have counted until now is in it.
  if reset or (spent_tokens and spent_money) then page[LEVEL] = batches + 1 end
  changed_windows[use[1]], new_ends[use[1]] = page, true
  local after = state(use, page)
  history[#history + 1] = {now, reset and 'reset' or 'set', account, use[1], reason, {before, after}}
  return {6, before, after}
end

-- Time

-- Holds whose lease has ended are charged; lapsed ones of which nothing counts any more are forgotten.
function end_leases()
  local ids = call('ZRANGEBYSCORE', K[3], 0, exactly(now))
  need(ids)
  for _, id in ipairs(ids) do
    local hold = hold_of(id)
    if hold then
      if not hold[LAPSED] then lapse(id, hold) end
      if counts_until(hold) <= now then drop(id) end
    end
  end
end

-- When the first of what is due will be, but for what this call writes.
function first_due()
  local first = call('ZRANGEBYSCORE', K[3], '(' .. exactly(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return tonumber(first[2] or 'inf')
end

-- What is over, in a portion, found before anything is written.
function find_old()
  local old = exactly(now)
  local windows = call('ZRANGEBYSCORE', K[2], '-inf', old, 'LIMIT', 0, SWEPT)
  need(windows)
  for _, key in ipairs(windows) do changed_windows[key], new_ends[key] = window(key), true end
  old_ids = call('ZRANGEBYSCORE', K[3], '-' .. old, '(0', 'LIMIT', 0, SWEPT)
  old = exactly(now - JOURNAL_KEPT)
  old_fields = call('ZRANGEBYSCORE', K[5], '-inf', old, 'LIMIT', 0, SWEPT)
end

-- An id that is over may have been reserved or settled again.
function forget_old()
  local ids = {}
  for _, id in ipairs(old_ids) do
    if not buried[id] and not changed_holds[id] then ids[#ids + 1] = id end
  end
  forget(K[3], ids)
  forget(K[5], old_fields)
end

-- Adds the fields of the book that a step names.
function name(step, fields)
  local kind, uses = step[1], 0
  if kind == 1 then uses = step[8] elseif kind == 3 then uses = step[6] end
  if kind < 4 or kind == 6 then fields[#fields + 1] = step[2] end
  for i = 11, 4 + 7 * uses, 7 do fields[#fields + 1] = step[i] end
  if kind == 2 then
    for _, use in ipairs(step[4]) do fields[#fields + 1] = use[1] end
  elseif kind == 4 then
    for _, id in ipairs(step[2]) do fields[#fields + 1] = id end
  end
end

local does = {reserve, top_up, settle, renew, adopt, release, change}

-- Reads what is kept of the books as a whole; returns their version, or nothing where there are none.
function own_books()
  local kept = read('')
  if not kept then return end
  local version = unpacked_doubles('<d', kept)
  if version < FIRST_READ or version > VERSION then return version end
  now, tombstone, next_due, born = unpacked_doubles('<dddd', kept, 9)
  if version >= FIRST_WITH_LIVES then
    batches, life = unpacked_doubles('<d', kept, 41), kept:sub(49)
  end
  if version < VERSION then index() end
  return VERSION
end

-- Of books of a former version: by which shapes and accounts their windows and holds are found, and that the windows
-- have missed nothing. Once, for it looks at them all.
function index()
  local all = call('ZRANGE', K[2], 0, -1)
  need(all)
  for _, key in ipairs(all) do
    note_shape(key)
    local kept = book[key]
    if kept then
      local page = doubles(kept)
      page = {page[1], page[2], page[3], batches, now, -1, LONG_AGO, LONG_AGO, unpack(page, 4)}
      book[key] = pack_doubles(form(#page), unpack(page))
      former[#former + 1] = key
    end
  end
  local ids = held_ids()
  need(ids)
  for _, id in ipairs(ids) do
    local hold = hold_of(id)
    if hold then begun[id], begun_ids[#begun_ids + 1] = hold, id end
  end
end

-- From now on in another life of a server.
function live_on(name)
  local kept = read('!')
  lives = kept and unpacked(kept) or {}
  lives[#lives + 1], lives[#lives + 2] = life, batches
  if #lives > 2 * MOST_LIVES then lives = {unpack(lives, 3)} end
  life = name
end

-- What these books lack of so many batches that were seen in a life: their number, or false where nobody can tell; nil
-- where they have them all.
function lacks(seen_life, seen)
  if seen_life == life then
    if seen > batches then return seen - batches end
    return
  end
  local kept = lives or unpacked(read('!') or pack({}))
  for i = #kept - 1, 1, -2 do
    if kept[i] == seen_life then
      if seen > kept[i + 1] then return seen - kept[i + 1] end
      return
    end
  end
  return false
end

-- Sets the clock back by hand: what counts is moved to the windows of that time, what is held is charged. The books
-- are begun anew, so that whoever reckons by the time before is refused. Answers {before}, or nothing where a window
-- has come that was not named.
function set_back(args)
  local reason, ends = unpack(unpacked(args[4]))
  local back = tonumber(args[2])
  batches, life = 0, ''
  local version = own_books()
  if not version then return pack({back}) end
  if version ~= VERSION then return pack({false, version}) end
  local before = now
  if before <= back then return pack({before}) end
  local ids = held_ids()
  need(ids)
  for _, id in ipairs(ids) do
    local hold = hold_of(id)
    if not hold[LAPSED] then lapse(id, hold) end
  end
  local all = call('ZRANGE', K[2], 0, -1)
  need(all)
  for _, key in ipairs(all) do
    local page = window(key)
    if last_of(page) then
      if not ends[key] then return pack({}) end
      local sum, off = sum_of(page)
      page = {page[1], page[2], page[3], page[COUNTED_IN], back, page[LEVEL], min(page[TOKENS_PUT_RIGHT], back),
        min(page[MONEY_PUT_RIGHT], back), ends[key], 0, 0, 0, unpack(sum, off + SPENT, off + LONG)}
    end
    changed_windows[key], new_ends[key] = page, true
  end
  -- Known as settled for as long as any lease lasts: what comes late is not charged once more.
  for _, id in ipairs(call('ZRANGE', K[3], 0, -1)) do buried[id] = back + tombstone end
  begun, changed_holds, dropped = {}, {}, {}
  history = {{back, 'clock', '', '', reason, {before, back}}}
  now, born, next_due = back, back, tonumber('inf')
  call('DEL', K[2], K[3], K[6])
  write_all()
  return pack({before})
end

-- What is kept of all windows, or of all holds: each after its field.
function list(what)
  local fields, all = what == 'holds' and held_ids() or call('ZRANGE', K[2], 0, -1), {}
  need(fields)
  for _, field in ipairs(fields) do
    all[#all + 1] = field
    all[#all + 1] = read(field)
  end
  return all
end

function run(keys, args)
  begin(keys)
  if args[1] == 'back' then return set_back(args) end
  if args[1] ~= 'steps' then return list(args[1]) end
  local steps, fields = {}, {''}
  for i = 4, #args do
    local step = {unpacked(args[i])}
    steps[i - 3] = step
    name(step, fields)
  end
  if args[2] ~= '' then
    now = tonumber(args[2])
  else
    local time = call('TIME')
    now = tonumber(time[1]) + tonumber(time[2]) / E6
  end
  local time, before = now, 0
  tombstone, next_due, born, batches = 60, 0, now, 0
  local server, fresh, seen_born, seen_life, seen = unpacked(args[3])
  life = server
  each_portion(fields, fetch)
  local version = own_books()
  if version then
    if version ~= VERSION then return pack({false, version}) end
    before = now
    -- A clock that goes back reopens nothing.
    now = max(time, before)
  end
  -- Whoever knew these books finds others in their place: what was spent is gone with them.
  if seen_born and seen_born ~= born then return pack({false, 0}) end
  if life ~= server then
    if not fresh then return pack({false, -2}) end
    live_on(server)
  end
  if seen_born then
    local missing = lacks(seen_life, seen)
    if missing ~= nil then return pack({false, -1, missing}) end
  end

  local sweeps = floor(now * SWEEPS) ~= floor(before * SWEEPS)
  if sweeps then find_old() end
  if now >= next_due then
    end_leases()
    next_due = first_due()
  end
  local answers = {}
  for i = 1, #steps do answers[i] = does[steps[i][1]](steps[i]) end

  write_all()
  if sweeps then forget_old() end
  return pack({now, answers, born, batches})
end

redis.register_function('penstock_ledger', run)
