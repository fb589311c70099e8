/* The metrics page, byte for byte. The registry is one for the process, so
 * each test looks at its own families only. */
#include "chorad/base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The part of the page from the family's HELP line to the next one's. */
static char *page_of(const char *name)
{
    struct buf page = {0};
    char *head = mem_printf("# HELP %s ", name);
    char *start;
    char *end;
    char *part;

    metrics_print(&page);
    buf_append(&page, "", 1);
    start = strstr((char *)page.data, head);
    if (start == NULL) {
        part = mem_strdup("");
    } else {
        end = strstr(start + 1, "# HELP ");
        if (end != NULL)
            *end = '\0';
        part = mem_strdup(start);
    }
    free(head);
    buf_close(&page);
    return part;
}

static void assert_page(const char *name, const char *expected)
{
    char *page = page_of(name);

    assert_string_equal(page, expected);
    free(page);
}

static void test_counter_and_gauge(void **state)
{
    struct metric *c =
        metric_counter("t1_total", "Help \\ with\nlines.", NULL, 0);
    struct metric *g = metric_gauge("t1_gauge", "G.", NULL, 0);

    (void)state;
    assert_page("t1_total", "# HELP t1_total Help \\\\ with\\nlines.\n"
                            "# TYPE t1_total counter\n"
                            "t1_total 0\n");
    metric_inc(c);
    metric_add(c, 1048575);
    metric_set(g, 0.25);
    metric_add(g, -0.5);
    assert_ptr_equal(metric_counter("t1_total", "", NULL, 0), c);
    assert_page("t1_total", "# HELP t1_total Help \\\\ with\\nlines.\n"
                            "# TYPE t1_total counter\n"
                            "t1_total 1.048576e+06\n");
    assert_page("t1_gauge", "# HELP t1_gauge G.\n"
                            "# TYPE t1_gauge gauge\n"
                            "t1_gauge -0.25\n");
}

static struct metric *two_labels(const char *code, const char *method)
{
    const struct metric_label labels[] = {{"code", code}, {"method", method}};

    return metric_counter("t2_total", "H.", labels, 2);
}

static void test_series_are_sorted_by_values(void **state)
{
    (void)state;
    metric_inc(two_labels("OK", "Range"));
    metric_inc(two_labels("Canceled", "Watch"));
    metric_add(two_labels("OK", "Put"), 2);
    metric_inc(two_labels("OK", "Range"));
    metric_inc(two_labels("a\"b\\c\nd", "x"));
    assert_page("t2_total",
                "# HELP t2_total H.\n"
                "# TYPE t2_total counter\n"
                "t2_total{code=\"Canceled\",method=\"Watch\"} 1\n"
                "t2_total{code=\"OK\",method=\"Put\"} 2\n"
                "t2_total{code=\"OK\",method=\"Range\"} 2\n"
                "t2_total{code=\"a\\\"b\\\\c\\nd\",method=\"x\"} 1\n");
}

static void test_families_are_sorted_by_name(void **state)
{
    struct buf page = {0};
    const char *a;
    const char *b;

    (void)state;
    (void)metric_gauge("t3_b", "H.", NULL, 0);
    (void)metric_gauge("t3_a", "H.", NULL, 0);
    metrics_print(&page);
    buf_append(&page, "", 1);
    a = strstr((char *)page.data, "t3_a");
    b = strstr((char *)page.data, "t3_b");
    assert_non_null(a);
    assert_non_null(b);
    assert_true(a < b);
    buf_close(&page);
}

static void test_histogram(void **state)
{
    static const struct metric_label labels[] = {{"zone", "x"}};
    struct metric_histogram *h =
        metric_histogram_exp("t4_seconds", "H.", 0.001, 2, 3, labels, 1);

    (void)state;
    metric_observe(h, 0.001); /* a bound belongs to its bucket */
    metric_observe(h, 0.0015);
    metric_observe(h, -3);
    metric_observe(h, 5);
    assert_page("t4_seconds", "# HELP t4_seconds H.\n"
                              "# TYPE t4_seconds histogram\n"
                              "t4_seconds_bucket{zone=\"x\",le=\"0.001\"} 2\n"
                              "t4_seconds_bucket{zone=\"x\",le=\"0.002\"} 3\n"
                              "t4_seconds_bucket{zone=\"x\",le=\"0.004\"} 3\n"
                              "t4_seconds_bucket{zone=\"x\",le=\"+Inf\"} 4\n"
                              "t4_seconds_sum{zone=\"x\"} 2.0025\n"
                              "t4_seconds_count{zone=\"x\"} 4\n");
}

static void test_empty_summary(void **state)
{
    (void)state;
    metric_empty_summary("t8_seconds", "S.");
    metric_empty_summary("t8_seconds", "S.");
    assert_page("t8_seconds", "# HELP t8_seconds S.\n"
                              "# TYPE t8_seconds summary\n"
                              "t8_seconds_sum 0\n"
                              "t8_seconds_count 0\n");
}

static void test_histogram_of_odd_numbers(void **state)
{
    static const double bounds[] = {1, 1048576};
    struct metric_histogram *h =
        metric_histogram("t5_bytes", "H.", bounds, 2, NULL, 0);

    (void)state;
    metric_observe(h, INFINITY);
    metric_observe(h, NAN);
    assert_page("t5_bytes", "# HELP t5_bytes H.\n"
                            "# TYPE t5_bytes histogram\n"
                            "t5_bytes_bucket{le=\"1\"} 0\n"
                            "t5_bytes_bucket{le=\"1.048576e+06\"} 0\n"
                            "t5_bytes_bucket{le=\"+Inf\"} 2\n"
                            "t5_bytes_sum NaN\n"
                            "t5_bytes_count 2\n");
}

static double read_number(void *arg)
{
    return *(const double *)arg;
}

static void test_read_at_scrape(void **state)
{
    static const struct metric_label one[] = {{"n", "1"}};
    static const struct metric_label two[] = {{"n", "2"}};
    double a = 1;
    double b = 2;

    (void)state;
    metric_read(METRIC_GAUGE, "t6", "H.", one, 1, read_number, &a);
    metric_read(METRIC_GAUGE, "t6", "H.", two, 1, read_number, &b);
    a = 1.5;
    assert_page("t6", "# HELP t6 H.\n# TYPE t6 gauge\n"
                      "t6{n=\"1\"} 1.5\nt6{n=\"2\"} 2\n");
    metric_forget(&a);
    assert_page("t6", "# HELP t6 H.\n# TYPE t6 gauge\nt6{n=\"2\"} 2\n");
    metric_forget(&b);
    assert_page("t6", "");
    metric_read(METRIC_GAUGE, "t6", "H.", one, 1, read_number, &b);
    assert_page("t6", "# HELP t6 H.\n# TYPE t6 gauge\nt6{n=\"1\"} 2\n");
    metric_forget(&b);
}

struct load {
    struct metric *c;
    struct metric_histogram *h;
};

static void *count(void *arg)
{
    const struct load *load = arg;

    for (int i = 0; i < 20000; i++) {
        metric_inc(load->c);
        metric_observe(load->h, i & 1 ? 0.5 : 2);
    }
    return NULL;
}

static void test_no_count_is_lost_between_threads(void **state)
{
    static const double bounds[] = {1};
    struct load load = {
        metric_counter("t7_total", "H.", NULL, 0),
        metric_histogram("t7_seconds", "H.", bounds, 1, NULL, 0),
    };
    pthread_t threads[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, &load), 0);
    for (int i = 0; i < 20; i++)
        free(page_of("t7_total"));
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(metric_value(load.c) == 80000);
    assert_page("t7_seconds", "# HELP t7_seconds H.\n"
                              "# TYPE t7_seconds histogram\n"
                              "t7_seconds_bucket{le=\"1\"} 40000\n"
                              "t7_seconds_bucket{le=\"+Inf\"} 80000\n"
                              "t7_seconds_sum 100000\n"
                              "t7_seconds_count 80000\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counter_and_gauge),
        cmocka_unit_test(test_series_are_sorted_by_values),
        cmocka_unit_test(test_families_are_sorted_by_name),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_histogram_of_odd_numbers),
        cmocka_unit_test(test_empty_summary),
        cmocka_unit_test(test_read_at_scrape),
        cmocka_unit_test(test_no_count_is_lost_between_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
