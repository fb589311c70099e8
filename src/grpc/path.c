/* From a request's path to its method. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define PATH_MAX_SHOWN 512

/* FNV-1a, 32 bits. */
static uint32_t hash_add(uint32_t h, const void *data, size_t len)
{
    const uint8_t *at = data;

    for (size_t i = 0; i < len; i++)
        h = (h ^ at[i]) * 16777619u;
    return h;
}

#define HASH_FIRST 2166136261u

static uint32_t slot_hash(const struct slot *slot)
{
    uint32_t h = hash_add(HASH_FIRST, "/", 1);

    h = hash_add(h, slot->service->name, strlen(slot->service->name));
    h = hash_add(h, "/", 1);
    return hash_add(h, slot->method->name, strlen(slot->method->name));
}

void paths_open(struct rpc_shard *shard)
{
    struct rpc_server *server = shard->server;
    unsigned mask = server->paths_n - 1;

    shard->slots = mem_zalloc(server->methods_n * sizeof(shard->slots[0]));
    shard->by_path = mem_zalloc(server->paths_n * sizeof(shard->by_path[0]));
    for (unsigned i = 0; i < server->methods_n; i++) {
        const struct slot *method = &server->methods[i];
        struct slot *slot = &shard->slots[i];
        unsigned at;

        slot->service = method->service;
        slot->method = method->method;
        slot->index = i;
        slot->seconds = method->seconds;
        slot->shown = method->shown;
        for (at = slot_hash(slot) & mask; shard->by_path[at] != NULL;)
            at = (at + 1) & mask;
        shard->by_path[at] = slot;
    }
}

static bool is_path_of(const struct slot *slot, struct bytes path)
{
    size_t service = strlen(slot->service->name);
    size_t method = strlen(slot->method->name);

    return path.len == service + method + 2 && path.data[0] == '/' &&
           memcmp(path.data + 1, slot->service->name, service) == 0 &&
           path.data[service + 1] == '/' &&
           memcmp(path.data + service + 2, slot->method->name, method) == 0;
}

struct slot *path_find(struct rpc_shard *shard, struct bytes path)
{
    unsigned mask = shard->server->paths_n - 1;
    unsigned at = hash_add(HASH_FIRST, path.data, path.len) & mask;

    for (; shard->by_path[at] != NULL; at = (at + 1) & mask)
        if (is_path_of(shard->by_path[at], path))
            return shard->by_path[at];
    return NULL;
}

static bool has_service(const struct rpc_server *server, const char *name)
{
    const struct rpc_service *const *service = server->config.services;

    for (; *service != NULL; service++)
        if (strcmp((*service)->name, name) == 0)
            return true;
    return false;
}

/* Splits "/service/method" at its last slash; the words are grpc-go's. */
void path_describe(const struct rpc_server *server, struct bytes given,
                   char *text, size_t size)
{
    char path[PATH_MAX_SHOWN];
    size_t len = given.len < sizeof(path) ? given.len : sizeof(path) - 1;
    const char *service = path;
    char *slash;

    if (len > 0)
        memcpy(path, given.data, len);
    path[len] = '\0';
    if (path[0] == '/')
        service++;
    slash = strrchr(service, '/');
    if (slash == NULL || path[0] != '/') {
        (void)snprintf(text, size, "malformed method name: \"%s\"", path);
        return;
    }
    *slash = '\0';
    if (has_service(server, service))
        (void)snprintf(text, size, "unknown method %s for service %s",
                       slash + 1, service);
    else
        (void)snprintf(text, size, "unknown service %s", service);
}
