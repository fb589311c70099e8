/* Alarms: raised and dropped, and what survives a reopen. */
#include "chorad/alarm.h"
#include "test_store.h"

static const struct alarm nospace = {UINT64_C(0x8e9e05c52164694d),
                                     ALARM_NOSPACE};
static const struct alarm corrupt = {7, ALARM_CORRUPT};

static struct alarms *open_alarms(struct fixture *f)
{
    struct alarms *alarms = NULL;
    struct errmsg msg;

    assert_int_equal(alarms_open(f->store, &alarms, &msg), 0);
    return alarms;
}

static struct alarms *reopen_alarms(struct fixture *f, struct alarms *alarms)
{
    alarms_close(alarms);
    mark(f);
    reopen_store(f);
    return open_alarms(f);
}

static void assert_listed(const struct alarms *alarms, int32_t type,
                          struct alarm want)
{
    struct alarm got[4];

    assert_int_equal(alarms_list(alarms, type, got, 4), 1);
    assert_int_equal(got[0].member_id, want.member_id);
    assert_int_equal(got[0].type, want.type);
}

static void test_raise_and_drop(void **state)
{
    struct alarms *alarms = open_alarms(*state);
    struct alarm elsewhere = {nospace.member_id + 1, ALARM_NOSPACE};
    struct alarm got[1];

    assert_int_equal(alarms_list(alarms, ALARM_NONE, NULL, 0), 0);
    assert_false(alarms_active(alarms, ALARM_NOSPACE));
    assert_true(alarms_activate(alarms, nospace));
    assert_false(alarms_activate(alarms, nospace));
    assert_true(alarms_active(alarms, ALARM_NOSPACE));
    assert_false(alarms_active(alarms, ALARM_CORRUPT));
    assert_listed(alarms, ALARM_NONE, nospace);
    assert_int_equal(alarms_list(alarms, ALARM_CORRUPT, NULL, 0), 0);
    alarms_activate(alarms, elsewhere);
    assert_int_equal(alarms_list(alarms, ALARM_NOSPACE, got, 1), 2);
    assert_true(alarms_deactivate(alarms, nospace));
    assert_false(alarms_deactivate(alarms, nospace));
    assert_true(alarms_active(alarms, ALARM_NOSPACE));
    assert_listed(alarms, ALARM_NOSPACE, elsewhere);
    assert_true(alarms_deactivate(alarms, elsewhere));
    assert_false(alarms_active(alarms, ALARM_NOSPACE));
    alarms_close(alarms);
}

static void test_reopen(void **state)
{
    struct fixture *f = *state;
    struct alarms *alarms = open_alarms(f);

    alarms_activate(alarms, nospace);
    alarms_activate(alarms, corrupt);
    alarms = reopen_alarms(f, alarms);
    assert_true(alarms_active(alarms, ALARM_NOSPACE));
    assert_true(alarms_active(alarms, ALARM_CORRUPT));
    assert_listed(alarms, ALARM_NOSPACE, nospace);
    assert_listed(alarms, ALARM_CORRUPT, corrupt);
    assert_true(alarms_deactivate(alarms, nospace));
    alarms = reopen_alarms(f, alarms);
    assert_false(alarms_active(alarms, ALARM_NOSPACE));
    assert_listed(alarms, ALARM_NONE, corrupt);
    alarms_close(alarms);
}

/* etcd keeps the encoded AlarmMember as the key, with no value. */
static void test_record(void **state)
{
    struct fixture *f = *state;
    struct alarms *alarms = open_alarms(f);
    int err;
    char *value;

    alarms_activate(alarms, corrupt);
    mark_flush(f);
    value = get_text(f, STORE_ALARM, "\x08\x07\x10\x02", &err);
    assert_int_equal(err, 0);
    assert_string_equal(value, "");
    free(value);
    alarms_close(alarms);
}

static void test_unknown_types(void **state)
{
    struct fixture *f = *state;
    struct alarm far = {1, INT32_MAX};
    struct alarm negative = {1, -5};
    struct alarms *alarms = open_alarms(f);

    alarms_activate(alarms, far);
    alarms_activate(alarms, negative);
    alarms = reopen_alarms(f, alarms);
    assert_false(alarms_active(alarms, ALARM_NOSPACE));
    assert_false(alarms_active(alarms, ALARM_CORRUPT));
    assert_listed(alarms, INT32_MAX, far);
    assert_listed(alarms, -5, negative);
    alarms_close(alarms);
}

static void test_damaged_record(void **state)
{
    struct fixture *f = *state;
    struct alarms *alarms;
    struct errmsg msg;

    put_text(f, STORE_ALARM, "\x08\xff", "");
    mark(f);
    reopen_store(f);
    assert_int_equal(alarms_open(f->store, &alarms, &msg), ERR_CORRUPT);
    assert_non_null(strstr(msg.text, "alarm"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_raise_and_drop), TEST(test_reopen),         TEST(test_record),
        TEST(test_unknown_types),  TEST(test_damaged_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
