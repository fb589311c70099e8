/* What this version can't do is refused rather than ignored; what it has no
 * use for is said. */
#include <stdlib.h>
#include <string.h>

#include "chorad/base/mem.h"
#include "chorad/base/url.h"
#include "flags.h"
#include "gates.h"

static int refuse(struct errmsg *msg, const char *what)
{
    return err_set(msg, ERR_UNSUPPORTED, "\"%s\" is not supported yet", what);
}

static bool is_text(const struct flag *flag)
{
    return flag->type == FLAG_STR || flag->type == FLAG_STATE;
}

/* A flag with some value that works: the one given is named. */
static int refuse_flag(const struct flag *flag, struct config *config,
                       struct errmsg *msg)
{
    char *what = is_text(flag) && flag->def[0] != '\0'
                     ? mem_printf("--%s=%s", flag->name,
                                  *(char **)flag_field(flag, config))
                     : mem_printf("--%s", flag->name);
    int err = refuse(msg, what);

    free(what);
    return err;
}

static int check_table(struct config *config, struct config *defaults,
                       struct errmsg *msg)
{
    for (size_t i = 0; i < flag_count; i++) {
        const struct flag *flag = &flag_table[i];

        if (flag_equal(flag, config, defaults))
            continue;
        if (flag->status == FLAG_NOT_YET)
            return refuse_flag(flag, config, msg);
        if (flag->status == FLAG_NO_EFFECT)
            config_note(config, LOG_WARN, "setting has no effect", "flag",
                        flag->name);
    }
    return 0;
}

static bool gate_has_effect(size_t gate)
{
    static const enum config_gate with_effect[] = {
        CONFIG_GATE_CompactHashCheck, CONFIG_GATE_InitialCorruptCheck,
        CONFIG_GATE_LeaseCheckpoint,  CONFIG_GATE_LeaseCheckpointPersist,
        CONFIG_GATE_PriorityRequest,  CONFIG_GATE_StopGRPCServiceOnDefrag,
    };

    for (size_t i = 0; i < sizeof(with_effect) / sizeof(with_effect[0]); i++)
        if (with_effect[i] == gate)
            return true;
    return gate == CONFIG_GATE_AllAlpha || gate == CONFIG_GATE_AllBeta;
}

static void check_gates(struct config *config, const struct config *defaults)
{
    for (size_t i = 0; i < CONFIG_GATE_COUNT; i++) {
        if (config->gates.on[i] != defaults->gates.on[i] && !gate_has_effect(i))
            config_note(config, LOG_WARN, "feature gate has no effect",
                        "feature-gate", gates_name(i));
    }
}

static int check_schemes(const struct url_list *urls, const char *flag,
                         struct errmsg *msg)
{
    for (size_t i = 0; i < urls->n; i++) {
        enum url_scheme scheme = urls->items[i].scheme;

        if (scheme == URL_HTTPS || scheme == URL_UNIXS) {
            char *what = mem_printf("--%s=%s", flag, urls->items[i].text);
            int err = refuse(msg, what);

            free(what);
            return err;
        }
    }
    return 0;
}

static int check_listeners(const struct config *config, struct errmsg *msg)
{
    int err = check_schemes(&config->listen_peer_urls, "listen-peer-urls", msg);

    if (err == 0)
        err = check_schemes(&config->listen_client_urls, "listen-client-urls",
                            msg);
    if (err == 0)
        err = check_schemes(&config->listen_client_http_urls,
                            "listen-client-http-urls", msg);
    if (err == 0)
        err = check_schemes(&config->listen_metrics_urls, "listen-metrics-urls",
                            msg);
    return err;
}

static int check_outputs(const struct config *config, struct errmsg *msg)
{
    for (size_t i = 0; i < config->log_outputs.n; i++) {
        if (strcmp(config->log_outputs.items[i], "systemd/journal") == 0)
            return refuse(msg, "--log-outputs=systemd/journal");
    }
    return 0;
}

int config_check_supported(struct config *config, struct errmsg *msg)
{
    struct config defaults;
    int err;

    config_default(&defaults);
    err = check_table(config, &defaults, msg);
    if (err == 0)
        check_gates(config, &defaults);
    config_close(&defaults);
    if (err == 0)
        err = check_listeners(config, msg);
    if (err == 0)
        err = check_outputs(config, msg);
    return err;
}
