"""What simulated people say in chats: by their role and the status of the job, and in answer to a visitor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

LINES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "customer": {
        "requested": ("Hello, can you come today?", "Hello, are you free?", "Hi! Would this afternoon work for you?"),
        "scheduled": ("Great, I look forward to it.", "Thank you for the offer. I am at home.", "Please ring twice."),
        "accepted": (
            "Thank you. When will you be here?",
            "Great. Please ring twice.",
            "Good, I am at home.",
            "Perfect. The bell says third floor.",
            "That was quick, thank you!",
        ),
        "ready": ("I am hungry already!", "Please leave it at the door.", "The bell does not work, please call."),
        "on_the_way": (
            "The door is open.",
            "You can park in front of the house.",
            "The entrance is in the courtyard.",
            "I can see you on the map.",
            "Mind the dog, she only wants to play.",
        ),
        "reached": ("I am coming down.", "Second floor, on the left.", "One moment, I am at the door."),
        "in_progress": ("Do you need anything?", "How long will it take?", "Would you like a coffee?"),
        "work_done": ("Looks good. I sign it now.", "Let me have a look first.", "Thank you, very tidy."),
        "awaiting_confirmation": ("Wonderful, thank you.", "I have confirmed it.", "That is much better."),
        "delivered": ("Found it, thanks!", "Still warm, thank you!"),
        "completed": ("It works again, thank you!", "Thank you, good bye.", "Great work, I will call you again."),
    },
    "technician": {
        "accepted": (
            "Hello, I have taken your job.",
            "Hello, I will come to you now.",
            "Good day, I am on it.",
            "Hello! I finish here and set off.",
        ),
        "scheduled": ("Thank you for choosing me. I set off now.", "Hello, I am on my way to you."),
        "ready": ("Picking your order up now.", "I have your bag, leaving in a minute."),
        "on_the_way": (
            "I am on my way.",
            "I have left, traffic is light.",
            "A few minutes more, a bridge is busy.",
            "Just crossed the ring road.",
        ),
        "reached": ("I am at the door.", "I have arrived.", "I am downstairs. Which bell?"),
        "in_progress": (
            "I have found the fault.",
            "This takes a few minutes.",
            "A seal is worn out; I have one in the van.",
            "I take a photo first, then I begin.",
        ),
        "work_done": ("All done, please check and sign.", "I have added two photos for you."),
        "delivered": ("Left at the door. Enjoy!", "Delivered. Have a nice evening."),
        "completed": (
            "All done. Have a good day!",
            "It is repaired. Good bye.",
            "Finished. Call me if anything is wrong.",
        ),
    },
    "mediator": {
        "in_progress": ("Hello, I am the mediator. What has happened?", "Good day, I have read your chat so far."),
        "disputed": ("Hello, I am the mediator. What is missing?", "I look at the photos with you both."),
    },
}
"""What people of each role say, by the status of the job."""

ANSWERS: tuple[tuple[str, Mapping[str, tuple[str, ...]]], ...] = (
    (
        r"\bwhere\b|\bwhen\b|how long|\beta\b",
        {
            "technician": ("A few minutes, I think.", "You can see me on the map.", "Soon: two more streets."),
            "customer": ("I am at home all day.", "Any time is fine.", "As soon as you can, please."),
        },
    ),
    (r"\bthank", {"technician": ("You are welcome.", "With pleasure."), "customer": ("You are welcome!",)}),
    (r"\bhello\b|\bhi\b", {"technician": ("Hello! On my way.",), "customer": ("Hello! Good to hear from you.",)}),
)
OTHER_ANSWERS = ("All right.", "Understood.", "Good, thank you.", "Sure.", "That is fine with me.")


def answer_to(role: str, text: str, rng: Random) -> str:
    """Return what somebody of a role answers to a message."""
    for pattern, lines in ANSWERS:
        if re.search(pattern, text, re.IGNORECASE) and role in lines:
            return rng.choice(lines[role])
    return rng.choice(OTHER_ANSWERS)
