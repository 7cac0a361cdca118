"""A valid blueprint, and edits of it that are each refused: the text to replace, the new text, and a part of the
problem's message.
"""

from __future__ import annotations

VALID_BLUEPRINT = """
name = "walks"
version = 1
title = "Dog walks"
technician = "optional"
named = "asked"
[dispatch]
waves = [{ size = 5, radius_m = 1000, interval_s = 10 }, { size = 9, radius_m = 0, interval_s = 10 }]
[price]
propose = ["booked"]
[codes]
purposes = ["leash"]
[states.wanted]
phase = "open"
seeks = "broadcast"
says = "Looking for a walker"
[states.asked]
phase = "open"
seeks = "direct"
says = "The walker was asked"
[states.booked]
phase = "assigned"
says = "A walker is booked"
timers = [{ after_s = 60, warn = "warn" }, { after_s = 120, command = "forget" }]
watch = { still_s = 60, release = true }
[states.walking]
phase = "active"
says = "The dog is out"
[states.back]
phase = "active"
says = "The dog is back"
then = "done"
[states.done]
phase = "done"
says = "Done"
[states.ended]
phase = "closed"
says = "Over"
[commands.claim]
by = ["offered"]
from = ["wanted", "asked"]
to = "booked"
does = "take"
event = "job.accepted"
[commands.decline]
by = ["offered"]
from = ["wanted"]
does = "refuse"
event = "offer.declined"
[commands.forget]
by = ["ops", "engine"]
from = ["booked"]
to = "wanted"
does = "release"
refunds = ["booked"]
event = "job.unassigned"
[commands.start]
by = ["holder"]
from = ["booked"]
to = "walking"
code = "leash"
event = "job.started"
[commands.meet]
by = ["holder"]
from = ["walking"]
marks = "met"
event = "job.status"
[commands.finish]
by = ["holder", "customer"]
from = ["booked", "walking"]
only = { customer = ["walking"] }
needs = ["met"]
to = "back"
event = "job.status"
[commands.quarrel]
by = ["customer"]
from = ["walking"]
does = "freeze"
event = "job.status"
[commands.settle]
by = ["mediator"]
from = ["walking"]
to = "ended"
does = "thaw"
resolves = "cancel"
event = "job.status"
[commands.expire]
by = ["engine"]
from = ["wanted", "asked"]
to = "ended"
event = "job.expired"
[edit]
wanted = ["*"]
booked = ["notes"]
[events."job.created"]
to = ["customer"]
[events."job.searching"]
to = ["ops"]
[events."job.accepted"]
to = ["customer", "holder"]
fields = { walk = "job.id", walker = "technician.id", met = "job.at.met", state = "word", fixed = 1 }
notify.customer = { title = "{says}", body = "{technician.name} comes." }
[events."job.status"]
to = ["customer"]
[events."job.started"]
to = ["customer"]
[events."job.unassigned"]
to = ["customer"]
[events."job.expired"]
to = ["customer"]
[events."job.late"]
to = ["ops"]
[events."job.stalled"]
to = ["ops"]
[events."job.updated"]
to = ["customer"]
[events."offer.declined"]
to = ["ops"]
[events."offer.closed"]
as = { taken = "walk_gone" }
[events."price.proposed"]
to = ["customer"]
[events."price.changed"]
to = ["customer"]
[events."price.rejected"]
to = ["customer"]
[events."payment.requested"]
to = ["service"]
[events.news]
announcement = true
to = ["customers"]
"""

INVALID_EDITS: tuple[tuple[str, str, str], ...] = (
    ('name = "walks"', 'name = "Dog walks"', "name 'Dog walks' is not small letters, digits and _"),
    ("version = 1", "version = 0", "version must be 1 or more"),
    ('title = "Dog walks"', "", "title is missing"),
    ('title = "Dog walks"', 'title = "x"\ncolour = "red"', "unknown field 'colour'"),
    ("[states.wanted]\n", "[states.wanted]\ncolour = 1\n", "states.wanted: Object contains unknown field `colour`"),
    ('phase = "active"\nsays = "The dog is out"', 'phase = "out"\nsays = "x"', "states.walking.phase: Invalid enum"),
    ('by = ["mediator"]', 'by = ["judge"]', "commands.settle.by[0]: Invalid enum value 'judge'"),
    ('does = "take"', 'does = "grab"', "commands.claim.does: Invalid enum value 'grab'"),
    ('named = "asked"', 'named = "nowhere"', "named: unknown state 'nowhere'"),
    ('technician = "optional"', "", "named: no booking can name a technician"),
    ('technician = "optional"', "", "state asked: it seeks (direct), but no booking can name a technician"),
    ('named = "asked"', "", "technician: optional, but named does not say"),
    ('code = "leash"', "", "codes: no command asks for the 'leash' code"),
    ('purposes = ["leash"]', 'purposes = ["leash"]\ntries = 0', "codes: tries must be 1 or more"),
    ("[codes]", '[room]\nmembers = ["ops"]\n[codes]', "room: members: 'ops' is neither customer nor holder"),
    ("[codes]", "[room]\nmembers = []\n[codes]", "room: members must name customer, holder or both"),
    ("[codes]", '[room]\nmembers = ["holder", "holder"]\n[codes]', "room: members must name customer, holder or both"),
    ("[codes]", "[room]\ncloses_s = -1\n[codes]", "room: closes_s must be a number of seconds, not below 0"),
    ("[codes]", '[room]\nopens = "later"\n[codes]', "room.opens: Invalid enum value 'later'"),
    ("[dispatch]", "[dispatch]\noffer_s = 0", "dispatch: offer_s must be more than 0"),
    ("[dispatch]", "[dispatch]\nlead_s = -1", "dispatch: lead_s must not be below 0"),
    ("[dispatch]", "[dispatch]\nhead_start = { first = 0, s = 5 }", "dispatch: head_start.first must be more than 0"),
    ("[dispatch]", "[dispatch]\nnewcomers = 20", "dispatch: newcomers is a share, from 0 to 1"),
    ("size = 5", "size = 0", "dispatch: wave 1 needs a size"),
    ("radius_m = 1000, interval_s = 10", "radius_m = 1000, interval_s = 0", "dispatch: wave 1 needs a size"),
    ("radius_m = 0", "radius_m = 500", "dispatch: wave 2 has a smaller radius_m"),
    ("radius_m = 1000", "radius_m = 0", "dispatch: wave 2 comes after one of the whole zone"),
    ("[states.walking]", "[states.'on a walk']", "state on a walk: its name is not small letters"),
    ('then = "done"', 'then = "nowhere"', "state back: then: unknown state 'nowhere'"),
    (
        'says = "Done"',
        'says = "Done"\nthen = "ended"',
        "state done: then: it passes on to 'ended', though it is terminal",
    ),
    ('says = "The dog is out"', 'says = "x"\nthen = "walking"', "state walking: then: it passes on in a circle"),
    (
        'phase = "open"\nseeks = "broadcast"',
        'phase = "active"\nseeks = "broadcast"',
        "state wanted: it seeks (broadcast) th",
    ),
    (
        'from = ["wanted", "asked"]\nto = "booked"',
        'from = ["asked"]\nto = "booked"',
        "state wanted: it seeks (broadcast), bu",
    ),
    ('seeks = "broadcast"', 'seeks = "bids"', 'state wanted: it seeks (bids), but no command from it does "award"'),
    (
        'seeks = "broadcast"',
        'seeks = "allocate"',
        'it seeks (allocate), but no command from it does "assign" by the engine',
    ),
    (
        'from = ["wanted", "asked"]\nto = "ended"',
        'from = ["asked"]\nto = "ended"',
        "state wanted: it seeks and dispatch.job_s",
    ),
    ('after_s = 60, warn = "warn"', 'after_s = 0, warn = "warn"', "state booked: timer 1 must have an after_s above 0"),
    ('after_s = 60, warn = "warn"', "after_s = 60", "state booked: timer 1 needs one of warn and command"),
    ('warn = "warn"', 'warn = "warn", command = "forget"', "state booked: timer 1 needs one of warn and command"),
    ('warn = "warn"', 'warn = "shout"', "state booked: timer 1 warn: 'shout' is none of warn, escalate"),
    ('command = "forget"', 'command = "lose"', "state booked: timer 2 gives an unknown command 'lose'"),
    ('by = ["ops", "engine"]', 'by = ["ops"]', "state booked: timer 2 gives 'forget', which is not by the engine"),
    ('command = "forget"', 'command = "start"', "state booked: timer 2 gives 'start', which is not by the engine"),
    ('does = "release"', 'does = "freeze"', "state booked: timer 2 gives 'forget', which needs somebody"),
    ('says = "Done"', 'says = "Done"\ntimers = [{ after_s = 1, warn = "warn" }]', "state done: timer 1 never runs out"),
    ("still_s = 60", "still_s = 0", "state booked: watch: one of still_s, away_m and dark_s"),
    (
        'does = "release"',
        'does = "move"',
        "state booked: watch: it may release, but no command from 'booked' does \"release\"",
    ),
    ("[commands.meet]", "[commands.bids]", "command bids: its name is not small letters"),
    ('by = ["customer"]\nfrom = ["walking"]', 'by = []\nfrom = ["walking"]', "command quarrel: it can never run"),
    ('from = ["walking"]\nmarks', 'from = ["flying"]\nmarks', "command meet: unknown state 'flying'"),
    ('to = "walking"', 'to = "flying"', "command start: unknown state 'flying'"),
    (
        'from = ["walking"]\nmarks',
        'from = ["walking", "done"]\nmarks',
        "command meet: leaves the terminal state 'done'",
    ),
    ("only = { customer", "only = { ops", "command finish: only: 'ops' is not in by"),
    (
        'only = { customer = ["walking"] }',
        'only = { customer = ["asked"] }',
        "command finish: only, refunds: 'asked' is not",
    ),
    ('refunds = ["booked"]', 'refunds = ["walking"]', "command forget: only, refunds: 'walking' is not in from"),
    ('needs = ["met"]', 'needs = ["meet"]', "command finish: needs or unless 'meet', which is no state and no command"),
    (
        'needs = ["met"]',
        'unless = ["meet"]',
        "command finish: needs or unless 'meet', which is no state and no command",
    ),
    ('marks = "met"', 'marks = "done"', "command meet: marks 'done', which is a state"),
    ('code = "leash"', 'code = "collar"', "command start: asks for the code 'collar', which is not among"),
    (
        'by = ["holder"]\nfrom = ["booked"]',
        'by = ["ops"]\nfrom = ["booked"]',
        "command start: asks for a code, so by must be",
    ),
    (
        'by = ["offered"]\nfrom = ["wanted", "asked"]',
        'by = ["ops"]\nfrom = ["wanted", "asked"]',
        'command claim: does "take"',
    ),
    (
        'by = ["holder"]\nfrom = ["walking"]',
        'by = ["offered"]\nfrom = ["walking"]',
        "command meet: is by offered or techn",
    ),
    ('to = "wanted"\n', "", 'command forget: does "release", but has no to'),
    ('marks = "met"', 'marks = "met"\ndoes = "thaw"', 'command meet: does "thaw" without resolves'),
    ('resolves = "cancel"', 'resolves = "forget"', "command settle: resolves 'forget', which is none of"),
    (
        'does = "freeze"',
        'to = "back"\ndoes = "freeze"',
        "command quarrel: freezes the job in 'back', where nothing thaws it",
    ),
    (
        "[commands.settle]",
        '[commands.end]\nby = ["mediator"]\nfrom = ["walking"]\ndoes = "thaw"\nresolves = "cancel"\n'
        'event = "job.status"\n[commands.settle]',
        "command settle: has the same effect as 'end' from the same state",
    ),
    ("[states.done]", '[states.lost]\nphase = "closed"\nsays = "x"\n[states.done]', "state 'lost' cannot be reached"),
    ('then = "done"', "", "state 'back' cannot be left, and is neither done nor closed"),
    ('booked = ["notes"]', 'booked = ["mood"]', "edit: booked: unknown field 'mood'"),
    ('booked = ["notes"]', 'flying = ["notes"]', "edit: 'flying' is no state, or a terminal one"),
    ('propose = ["booked"]', 'propose = ["done"]', "price: propose: 'done' is no state, or a terminal one"),
    ('propose = ["booked"]', 'hours = ["walking", "home"]', "price: hours: 'home' is no state and no command marks it"),
    ('propose = ["booked"]', 'hours = ["walking"]', "price: hours must have two names"),
    ('propose = ["booked"]', "round_to = 5", "price: round_to: changes no price; it needs source"),
    ('[events."job.started"]', '[events."job.nothing"]', "command start: its event 'job.started' has no audience"),
    (
        '[events."job.started"]\nto = ["customer"]',
        '[events."job.started"]',
        "command start: its event 'job.started' has no",
    ),
    ('[events."payment.requested"]', "[events.position]", "command forget: its event 'payment.requested' has no audi"),
    ('[events."job.updated"]', "[events.position]", "edit: its event 'job.updated' has no audience"),
    ('[events."job.created"]', "[events.position]", "booking: its event 'job.created' has no audience"),
    ('[events."job.searching"]', "[events.position]", "state wanted: its event 'job.searching' has no audience"),
    ('named = "asked"', 'named = "asked"\ntrack_from = "flying"', "track_from: unknown state 'flying'"),
    ('named = "asked"', 'named = "asked"\ntrack_from = "done"', "track_from: the work is over in 'done'"),
    ('named = "asked"', 'named = "asked"\narrival = { at_m = 600 }', "arrival: at_m must be above 0, and near_m"),
    ('named = "asked"', 'named = "asked"\narrival = { leave_m = 60 }', "arrival: leave_m must be above at_m"),
    ('named = "asked"', 'named = "asked"\narrival = { fixes = 0 }', "arrival: fixes must be from 1 to 10"),
    ('named = "asked"', 'named = "asked"\narrival = { near = 5 }', "arrival: Object contains unknown field `near`"),
    ('named = "asked"', 'named = "asked"\narrival = { states = ["fly"] }', "arrival: states: unknown state 'fly'"),
    ('named = "asked"', 'named = "asked"\narrival = { states = ["booked"] }', "arrival: states: in 'booked' the"),
    (
        "[commands.settle]",
        '[commands.pick]\nby = ["customer"]\nfrom = ["wanted"]\ndoes = "award"\nevent = "job.accepted"\n'
        "[commands.settle]",
        "command pick: its event 'bid.accepted' has no audience",
    ),
    (
        'seeks = "broadcast"',
        'seeks = "bids"',
        "command claim: answers an offer in 'wanted', where offers",
    ),
    ('[events."job.late"]', "[events.position]", "state booked: its event 'job.late' has no audience"),
    ('[events."job.stalled"]', "[events.position]", "state booked: its event 'job.stalled' has no audience"),
    ('[events."price.changed"]', "[events.position]", "price: its event 'price.changed' has no audience"),
    ('[events."job.started"]', '[events."job.begun"]', "event job.begun: it never occurs"),
    (
        'event = "job.started"',
        'event = "walk.started"',
        "command start: its event 'walk.started' is not one of a command",
    ),
    (
        'event = "job.started"',
        'event = "job.created"',
        "command start: its event 'job.created' is not one of a command",
    ),
    (
        'event = "job.started"',
        'event = "payment.requested"',
        "command start: its event 'payment.requested' is not one of",
    ),
    ('event = "offer.declined"', 'event = "job.status"', "command decline: its event 'job.status' is not one of a com"),
    ('to = ["service"]', 'to = ["bank"]', "event payment.requested: to: unknown word 'bank'"),
    ("taken = ", "stolen = ", "event offer.closed: as: unknown reason 'stolen'"),
    ('walk = "job.id"', 'walk = "job.ident"', "event job.accepted: fields: walk: the event has no member 'job.ident'"),
    ('walk = "job.id"', 'job = "job.id"', "event job.accepted: fields: 'job' is a member that the engine sets"),
    (
        '"job.at.met"',
        '"job.at.meet"',
        "event job.accepted: fields: met: 'job.at.meet' is no state and no command marks",
    ),
    (
        'to = ["ops"]\n[events."job.st',
        'to = ["ops"]\nfields = { s = "word" }\n[events."job.st',
        "s: 'word' needs the whole",
    ),
    ("{technician.name}", "{technician.mood}", "notify.customer.body: {technician.mood} is not a valid placeholder"),
    ("{says}", "{says", "event job.accepted: notify.customer.title: '{says': expected '}'"),
    ("{says}", "{}", "event job.accepted: notify.customer.title: {} is not a valid placeholder for this event"),
    (
        '[events."job.late"]',
        '[events."job.late"]\nnotify.customer = { title = "x", body = "y" }',
        "event job.late: notify: the event does not contain the whole job",
    ),
    (
        '[events."offer.declined"]',
        '[events."offer.declined"]\nfields = { who = "job.customer.name" }',
        "event offer.declined: fields: who: the event has no member 'job.customer.name'",
    ),
    (
        'title = "{says}", body = "{technician.name} comes."',
        'title = "x", body = "y", when = { "job.mood" = "good" }',
        "event job.accepted: notify.customer.when: the event has no member 'job.mood'",
    ),
    ("notify.customer", "notify.offered", "event job.accepted: notify: offered is for offer.created alone"),
    (
        '[events."offer.closed"]',
        '[events."offer.created"]\nnotify.customer = { title = "x", body = "y" }\n[events."offer.closed"]',
        "event offer.created: notify: the event does not contain the whole job",
    ),
    ("[events.news]", "[events.'job.news']", "event job.news: 'job.news' is an event of the engine, not an"),
    ('to = ["customers"]', 'to = ["holder"]', "event news: to: 'holder' is no role"),
    (
        "announcement = true",
        'announcement = true\nfields = { a = "b" }',
        "event news: an announcement belongs to no job",
    ),
    (
        'from = ["wanted", "asked"]\nto = "booked"',
        'from = ["wanted", "asked"]\nto = "done"',
        "command claim: gives the job a holder in 'done', where the work is over",
    ),
    (
        'from = ["wanted", "asked"]\nto = "booked"',
        'from = ["wanted", "asked"]\nto = "back"',
        "command claim: does \"take\" to 'back', a state that the job leaves at once",
    ),
    (
        '[commands.expire]\nby = ["engine"]\nfrom = ["wanted", "asked"]\nto = "ended"',
        '[commands.expire]\nby = ["engine"]\nfrom = ["wanted", "asked"]\nto = "back"',
        "command expire: does \"move\" to 'back', a state that the job leaves at once",
    ),
    (
        'then = "done"',
        'then = "done"\ntimers = [{ after_s = 1, warn = "warn" }]',
        "state back: then: a job leaves this state at once",
    ),
    ('named = "asked"', 'named = "back"', "state back: then: a job cannot begin in a state that it leaves"),
    (
        'from = ["walking"]\ndoes = "freeze"',
        'from = ["wanted"]\ndoes = "freeze"',
        "command quarrel: freezes the job in 'wanted', which searches for a technician",
    ),
    (
        "[commands.settle]",
        '[commands.bid]\nby = ["technician"]\nfrom = ["wanted"]\nto = "booked"\ndoes = "bid"\n'
        'event = "bid.created"\n[commands.settle]',
        'command bid: does "bid", which leaves the job where it is',
    ),
)
