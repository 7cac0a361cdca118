"""Engine tests that depend on the locking of the database, run here on SQLite and on PostgreSQL."""

from tests.engine.test_accounts import (
    test_a_changed_role_needs_a_new_token,
    test_a_repeat_by_key_makes_one_account,
    test_a_suspension_takes_effect_at_once,
    test_refuses_an_email_that_has_an_account,
    test_users_are_listed_newest_first_in_pages,
)
from tests.engine.test_notifications import (
    test_a_notification_can_be_marked_as_read_before_it_is_archived,
    test_pages_contain_each_notification_once,
)
from tests.engine.test_outbox import test_concurrent_commands_leave_redis_as_sql_has_it
from tests.engine.test_profiles import (
    test_a_lost_live_record_is_restored,
    test_changes_that_cross_end_as_sql_has_them,
    test_technicians_are_found_by_service_place_and_page,
)
from tests.engine.test_services import test_services_are_found_by_word_and_category
from tests.engine.test_tokens import (
    test_an_older_token_ends_the_login,
    test_the_previous_token_ends_the_login_once_its_successor_was_used,
    test_two_refreshes_at_once_give_the_same_successor,
)

__all__ = [
    "test_a_changed_role_needs_a_new_token",
    "test_a_lost_live_record_is_restored",
    "test_a_notification_can_be_marked_as_read_before_it_is_archived",
    "test_a_repeat_by_key_makes_one_account",
    "test_a_suspension_takes_effect_at_once",
    "test_an_older_token_ends_the_login",
    "test_changes_that_cross_end_as_sql_has_them",
    "test_concurrent_commands_leave_redis_as_sql_has_it",
    "test_pages_contain_each_notification_once",
    "test_refuses_an_email_that_has_an_account",
    "test_services_are_found_by_word_and_category",
    "test_technicians_are_found_by_service_place_and_page",
    "test_the_previous_token_ends_the_login_once_its_successor_was_used",
    "test_two_refreshes_at_once_give_the_same_successor",
    "test_users_are_listed_newest_first_in_pages",
]
