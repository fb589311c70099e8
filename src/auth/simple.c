/* Simple tokens: a hash table by text, and a row in which each is looked at
 * once its time may be over.
 *
 * Readers make a token's time begin again by one store; they share the lock.
 * Where a token lies in the row says only when to look at it next. */
#include "chorad/base/check.h"
#include "tokens.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 64

struct token {
    struct token *hash_next;
    struct token *next; /* of the row */
    struct token *prev;
    uint32_t hash;
    _Atomic uint64_t expiry_ns;
    uint64_t look_ns;
    size_t text_len;
    size_t user_len;
    uint8_t bytes[]; /* the text, then the user's name */
};

struct simple_tokens {
    pthread_rwlock_t lock;
    uint64_t ttl_ns;
    struct token **buckets;
    size_t n_buckets; /* a power of two */
    size_t count;
    struct token *first;
    struct token *last;
};

static struct bytes text_of(const struct token *token)
{
    return bytes_of(token->bytes, token->text_len);
}

static struct bytes user_of(const struct token *token)
{
    return bytes_of(token->bytes + token->text_len, token->user_len);
}

static bool equal(struct bytes a, struct bytes b)
{
    return bytes_cmp(a, b) == 0;
}

/* FNV-1a. The texts in the table are of the members' own making, so that nobody
 * can choose them to collide. */
static uint32_t hash_of(struct bytes text)
{
    uint32_t hash = 2166136261;

    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ text.data[i]) * 16777619;
    return hash;
}

struct simple_tokens *simple_tokens_new(uint64_t ttl_ns)
{
    struct simple_tokens *tokens = mem_zalloc(sizeof(*tokens));

    CHECK(pthread_rwlock_init(&tokens->lock, NULL) == 0);
    tokens->ttl_ns = ttl_ns;
    tokens->n_buckets = BUCKETS_MIN;
    tokens->buckets = mem_zalloc(BUCKETS_MIN * sizeof(struct token *));
    return tokens;
}

void simple_tokens_free(struct simple_tokens *tokens)
{
    if (tokens == NULL)
        return;
    simple_tokens_forget_all(tokens);
    pthread_rwlock_destroy(&tokens->lock);
    free(tokens->buckets);
    free(tokens);
}

/* ---- the table and the row: with the lock held for writing ---- */

static struct token **place(const struct simple_tokens *tokens,
                            struct bytes text, uint32_t hash)
{
    struct token **at = &tokens->buckets[hash & (tokens->n_buckets - 1)];

    while (*at != NULL && ((*at)->hash != hash || !equal(text_of(*at), text)))
        at = &(*at)->hash_next;
    return at;
}

static void append(struct simple_tokens *tokens, struct token *token)
{
    token->next = NULL;
    token->prev = tokens->last;
    if (tokens->last != NULL)
        tokens->last->next = token;
    else
        tokens->first = token;
    tokens->last = token;
}

static void take_out(struct simple_tokens *tokens, struct token *token)
{
    if (token->prev != NULL)
        token->prev->next = token->next;
    else
        tokens->first = token->next;
    if (token->next != NULL)
        token->next->prev = token->prev;
    else
        tokens->last = token->prev;
}

static void drop(struct simple_tokens *tokens, struct token *token)
{
    *place(tokens, text_of(token), token->hash) = token->hash_next;
    take_out(tokens, token);
    tokens->count--;
    free(token);
}

static void grow(struct simple_tokens *tokens)
{
    size_t n = tokens->n_buckets * 2;

    free(tokens->buckets);
    tokens->buckets = mem_zalloc(n * sizeof(struct token *));
    tokens->n_buckets = n;
    for (struct token *t = tokens->first; t != NULL; t = t->next) {
        struct token **at = &tokens->buckets[t->hash & (n - 1)];

        t->hash_next = *at;
        *at = t;
    }
}

static struct token *new_token(struct bytes text, struct bytes user)
{
    struct token *token = mem_alloc(sizeof(*token) + text.len + user.len);

    token->hash = hash_of(text);
    token->text_len = text.len;
    token->user_len = user.len;
    memcpy(token->bytes, text.data, text.len);
    if (user.len > 0)
        memcpy(token->bytes + text.len, user.data, user.len);
    return token;
}

static void lock_write(struct simple_tokens *tokens)
{
    CHECK(pthread_rwlock_wrlock(&tokens->lock) == 0);
}

static void unlock(struct simple_tokens *tokens)
{
    CHECK(pthread_rwlock_unlock(&tokens->lock) == 0);
}

/* ---- from the log ---- */

void simple_tokens_give(struct simple_tokens *tokens, struct bytes text,
                        struct bytes user, uint64_t now_ns)
{
    struct token *token = new_token(text, user);
    struct token **at;

    token->look_ns = now_ns + tokens->ttl_ns;
    atomic_store(&token->expiry_ns, token->look_ns);
    lock_write(tokens);
    /* The index in it makes a text unique. */
    at = place(tokens, text, token->hash);
    if (*at != NULL)
        drop(tokens, *at);
    if (tokens->count >= tokens->n_buckets)
        grow(tokens);
    at = place(tokens, text, token->hash);
    token->hash_next = NULL;
    *at = token;
    append(tokens, token);
    tokens->count++;
    unlock(tokens);
}

void simple_tokens_forget(struct simple_tokens *tokens, struct bytes user)
{
    struct token *next;

    lock_write(tokens);
    for (struct token *t = tokens->first; t != NULL; t = next) {
        next = t->next;
        if (equal(user_of(t), user))
            drop(tokens, t);
    }
    unlock(tokens);
}

void simple_tokens_forget_all(struct simple_tokens *tokens)
{
    struct token *next;

    lock_write(tokens);
    for (struct token *t = tokens->first; t != NULL; t = next) {
        next = t->next;
        free(t);
    }
    tokens->first = tokens->last = NULL;
    tokens->count = 0;
    memset(tokens->buckets, 0, tokens->n_buckets * sizeof(struct token *));
    unlock(tokens);
}

void simple_tokens_expire(struct simple_tokens *tokens, uint64_t now_ns)
{
    struct token *next;

    lock_write(tokens);
    for (struct token *t = tokens->first; t != NULL && t->look_ns <= now_ns;
         t = next) {
        uint64_t expiry_ns = atomic_load(&t->expiry_ns);

        next = t->next;
        if (expiry_ns <= now_ns) {
            drop(tokens, t);
            continue;
        }
        take_out(tokens, t);
        t->look_ns = expiry_ns;
        append(tokens, t);
    }
    unlock(tokens);
}

size_t simple_tokens_count(struct simple_tokens *tokens)
{
    size_t n;

    CHECK(pthread_rwlock_rdlock(&tokens->lock) == 0);
    n = tokens->count;
    unlock(tokens);
    return n;
}

/* ---- from anywhere ---- */

bool simple_tokens_find(struct simple_tokens *tokens, struct bytes text,
                        uint64_t now_ns, struct auth_who *who)
{
    struct token *token;
    bool found = false;

    CHECK(pthread_rwlock_rdlock(&tokens->lock) == 0);
    token = *place(tokens, text, hash_of(text));
    if (token != NULL && atomic_load(&token->expiry_ns) > now_ns) {
        struct bytes user = user_of(token);

        found = user.len <= AUTH_NAME_MAX;
        if (found && user.len > 0)
            memcpy(who->name, user.data, user.len);
        who->len = user.len;
        atomic_store_explicit(&token->expiry_ns, now_ns + tokens->ttl_ns,
                              memory_order_relaxed);
    }
    unlock(tokens);
    return found;
}

bool simple_token_index(struct bytes text, uint64_t *index)
{
    const uint8_t *point =
        text.len > 0 ? memchr(text.data, '.', text.len) : NULL;
    const uint8_t *end = text.data + text.len;
    uint64_t n = 0;

    if (point == NULL || point + 1 == end)
        return false;
    for (const uint8_t *at = point + 1; at < end; at++) {
        if (*at < '0' || *at > '9' ||
            __builtin_mul_overflow(n, (uint64_t)10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*at - '0'), &n))
            return false;
    }
    *index = n;
    return true;
}
