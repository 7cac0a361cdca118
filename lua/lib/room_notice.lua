-- The notifications of unread messages in a room.
local RoomNotice = {}

-- If a message is said while the room is examined, the room is examined again after this time.
RoomNotice.RETRY_MS = 5000
