/* The kinds of tokens. */
#ifndef CHORAD_AUTH_TOKENS_H
#define CHORAD_AUTH_TOKENS_H

#include "chorad/auth.h"

/* ---- simple.c: texts that the members keep in memory --------------------
 *
 *   <16 letters of the asked member> "." <index in the log, minus 1>
 *
 * The index is that of the entry before the one that gave the token out: etcd
 * takes what it has applied by then. */

struct simple_tokens;

struct simple_tokens *simple_tokens_new(uint64_t ttl_ns);
void simple_tokens_free(struct simple_tokens *tokens);

/* The loop. */
void simple_tokens_give(struct simple_tokens *tokens, struct bytes text,
                        struct bytes user, uint64_t now_ns);
void simple_tokens_forget(struct simple_tokens *tokens, struct bytes user);
void simple_tokens_forget_all(struct simple_tokens *tokens);
void simple_tokens_expire(struct simple_tokens *tokens, uint64_t now_ns);
size_t simple_tokens_count(struct simple_tokens *tokens);

/* Any thread: the user, who->rev left alone; the token has its whole time
 * again. */
bool simple_tokens_find(struct simple_tokens *tokens, struct bytes text,
                        uint64_t now_ns, struct auth_who *who);

/* The number behind the only point (pure). */
bool simple_token_index(struct bytes text, uint64_t *index);

/* ---- jwt.c: signed texts (RFC 7519) --------------------------------------
 */

struct jwt;

/* What --auth-token says about them; "" for what isn't given. */
struct jwt_options {
    const char *method;
    const char *public_key; /* paths */
    const char *private_key;
    const char *ttl;
};

int jwt_open(const struct jwt_options *options, struct jwt **out,
             struct errmsg *msg);
void jwt_close(struct jwt *jwt);

/* Both any thread. ERR_VERIFY_ONLY; ERR_AUTH_TOKEN. */
int jwt_sign(const struct jwt *jwt, struct bytes name, uint64_t rev,
             uint64_t wall_ns, struct buf *out);
int jwt_identify(struct jwt *jwt, struct bytes token, uint64_t wall_ns,
                 struct auth_who *who);

/* ---- tokens.c ---- */

void tokens_forget_user(struct auth_tokens *tokens, struct bytes user);
void tokens_forget_all(struct auth_tokens *tokens);

#endif
