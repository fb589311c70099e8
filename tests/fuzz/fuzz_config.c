/* Settings from arbitrary bytes. The first byte chooses the source: a YAML
 * file, a command line or variables (one word a line). What is taken has to
 * survive all that follows. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "chorad/config.h"

#define MAX_WORDS 64
#define MAX_INPUT 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every host is the same machine. */
static int resolve(void *arg, const char *host, char *out, size_t size)
{
    (void)arg;
    (void)host;
    if (size < sizeof("10.0.0.1"))
        return ERR_INVALID;
    memcpy(out, "10.0.0.1", sizeof("10.0.0.1"));
    return 0;
}

/* Cuts the text into lines; returns how many. */
static int split_lines(char *text, char **words, int max)
{
    int n = 0;
    char *rest = NULL;

    for (char *line = strtok_r(text, "\n", &rest); line != NULL && n < max;
         line = strtok_r(NULL, "\n", &rest)) {
        /* Files are not what is tested, nor is there one to be read. */
        if (strstr(line, "config-file") == NULL &&
            strstr(line, "CONFIG_FILE") == NULL)
            words[n++] = line;
    }
    words[n] = NULL;
    return n;
}

static int load(uint8_t source, char *text, size_t len, struct config *config,
                struct errmsg *msg)
{
    char program[] = "chorad";
    char *argv[MAX_WORDS + 2] = {program};
    char *env[MAX_WORDS + 1] = {NULL};
    int argc = 1;

    if (source % 3 == 0) {
        config_default(config);
        if (config_read_yaml(config, text, len, msg) != 0)
            return -1;
        return config_check(config, msg);
    }
    if (source % 3 == 1)
        argc += split_lines(text, argv + 1, MAX_WORDS);
    else
        (void)split_lines(text, env, MAX_WORDS);
    return config_load(argc, argv, env, config, msg) == CONFIG_RUN ? 0 : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct config_resolver resolver = {resolve, NULL, 1};
    struct config config;
    struct errmsg msg = {0};
    char *text;

    if (size == 0 || size > MAX_INPUT)
        return 0;
    text = malloc(size);
    if (text == NULL)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (load(data[0], text, size - 1, &config, &msg) == 0) {
        config_settle(&config, "10.0.0.1");
        (void)config_check_bootstrap(&config, &resolver, &msg);
        (void)config_check_supported(&config, &msg);
    }
    config_close(&config);
    free(text);
    return 0;
}
