-- The notifications of unread messages in a room.
local RoomNotice = {}

-- How long after a message that was said during an examination the room is examined again.
RoomNotice.RETRY_MS = 5000
