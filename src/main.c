/* chorad: read the settings, set up the log, run the member; or a tool. */
#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

#include "chorad/app.h"
#include "chorad/base/log.h"
#include "chorad/config.h"
#include "chorad/tool.h"

#define EXIT_SETTING 1
#define EXIT_USAGE 2

static int refuse(const struct errmsg *msg)
{
    (void)fprintf(stderr, "%s\n", msg->text);
    return EXIT_SETTING;
}

/* Settings that contradict each other go into the log, where etcd's users
 * look for them. */
static int reject(const struct config *config, const struct errmsg *msg)
{
    app_log_notes(config);
    log_warn("failed to verify flags", LOG_STR("error", msg->text));
    return EXIT_SETTING;
}

static int start(struct config *config)
{
    char host[INET6_ADDRSTRLEN];
    struct errmsg msg = {0};

    config_settle(config,
                  app_default_host(host, sizeof(host)) == 0 ? host : NULL);
    if (config_check_supported(config, &msg) != 0)
        return refuse(&msg);
    if (app_log_setup(config, &msg) != 0)
        return reject(config, &msg);
    app_log_notes(config);
    config_log_settings(config);
    return app_run(config);
}

static int act(enum config_action action, struct config *config,
               const struct errmsg *msg)
{
    switch (action) {
    case CONFIG_RUN:
        return start(config);
    case CONFIG_PRINT_HELP:
        config_print_usage(stderr);
        (void)fputs("\nOffline, on a stopped member's directory or a file:\n\n",
                    stderr);
        tool_print_commands(stderr);
        config_print_help(stdout);
        return 0;
    case CONFIG_PRINT_VERSION:
        config_print_version(stdout);
        return 0;
    case CONFIG_BAD_USAGE:
        (void)fprintf(stderr, "%s\n", msg->text);
        config_print_usage(stderr);
        return EXIT_USAGE;
    case CONFIG_BAD_SETTING:
        return reject(config, msg);
    case CONFIG_NOT_SUPPORTED:
        return refuse(msg);
    }
    return EXIT_SETTING;
}

int main(int argc, char *argv[])
{
    struct config config;
    struct errmsg msg = {0};
    enum config_action action;
    int code;

    if (tool_knows(argc, argv))
        return tool_main(argc, argv);
    action = config_load(argc, argv, environ, &config, &msg);
    code = act(action, &config, &msg);
    config_close(&config);
    return code;
}
