/* Chorad's permission sets, played by main.go: a line in, a line out. */
#include "auth/intervals.h"
#include "auth/perm_order.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 4
#define PERMS_MAX 1024

static struct auth_permission perms[PERMS_MAX];
static size_t n_perms;
static struct arena arena;

/* "-" is the empty string. */
static struct bytes unhex(const char *word)
{
    size_t len = word[0] == '-' ? 0 : strlen(word) / 2;
    uint8_t *out = arena_alloc(&arena, len + 1);

    for (size_t i = 0; i < len; i++) {
        char digits[3] = {word[2 * i], word[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return bytes_of(out, len);
}

static void show_perms(void)
{
    for (size_t i = 0; i < n_perms; i++)
        (void)printf("%s%d", i > 0 ? " " : "", perms[i].type);
    (void)printf("\n");
}

static void run(struct intervals *set, char **words)
{
    struct interval interval = {unhex(words[1]), unhex(words[2])};

    if (strcmp(words[0], "add") == 0) {
        intervals_add(set, interval);
    } else if (strcmp(words[0], "hit") == 0) {
        (void)printf("%d\n", intervals_hit(set, interval.begin));
    } else if (strcmp(words[0], "cover") == 0) {
        (void)printf("%d\n", intervals_cover(set, interval));
    } else if (strcmp(words[0], "perm") == 0 && n_perms < PERMS_MAX) {
        perms[n_perms++] =
            (struct auth_permission){atoi(words[2]), interval.begin, {NULL, 0}};
    } else if (strcmp(words[0], "order") == 0) {
        perm_order(perms, n_perms);
        show_perms();
    } else {
        intervals_close(set);
        arena_reset(&arena);
        n_perms = 0;
        (void)fflush(stdout);
    }
}

int main(void)
{
    struct intervals set = {0};
    char line[4096];

    while (fgets(line, sizeof(line), stdin)) {
        char *words[WORDS_MAX] = {"", "-", "-", "-"};
        char *rest = line;
        char *word;

        for (int n = 0; n < WORDS_MAX; n++) {
            word = strtok_r(rest, " \n", &rest);
            if (word == NULL)
                break;
            words[n] = word;
        }
        run(&set, words);
    }
    intervals_close(&set);
    arena_close(&arena);
    return 0;
}
