/* What a request needs permission for. */
#include "view.h"

int apply_permit_put(struct auth *auth, const struct lessor *lessor,
                     const struct auth_who *who,
                     const Etcdserverpb__PutRequest *req)
{
    struct bytes key = view_bytes(req->key);
    struct bytes end = {NULL, 0};
    int rc = auth_may_write(auth, who, key, end);

    /* Who may not revoke a lease, because it has keys that are none of his,
     * may not attach his own to it either. */
    if (rc == 0)
        rc = apply_permit_lease(auth, lessor, who, req->lease, true);
    if (rc == 0 && req->prev_kv)
        rc = auth_may_read(auth, who, key, end);
    return rc;
}

int apply_permit_delete(struct auth *auth, const struct auth_who *who,
                        const Etcdserverpb__DeleteRangeRequest *req)
{
    struct bytes key = view_bytes(req->key);
    struct bytes end = view_bytes(req->range_end);
    int rc = auth_may_write(auth, who, key, end);

    if (rc == 0 && req->prev_kv)
        rc = auth_may_read(auth, who, key, end);
    return rc;
}

static int permit_op(struct auth *auth, const struct lessor *lessor,
                     const struct auth_who *who,
                     const Etcdserverpb__RequestOp *op)
{
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        return auth_may_read(auth, who, view_bytes(op->request_range->key),
                             view_bytes(op->request_range->range_end));
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        return apply_permit_put(auth, lessor, who, op->request_put);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        return apply_permit_delete(auth, who, op->request_delete_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
        return apply_permit_txn(auth, lessor, who, op->request_txn);
    default:
        return 0;
    }
}

int apply_permit_txn(struct auth *auth, const struct lessor *lessor,
                     const struct auth_who *who,
                     const Etcdserverpb__TxnRequest *req)
{
    int rc = 0;

    for (size_t i = 0; i < req->n_compare && rc == 0; i++)
        rc = auth_may_read(auth, who, view_bytes(req->compare[i]->key),
                           view_bytes(req->compare[i]->range_end));
    for (size_t i = 0; i < req->n_success && rc == 0; i++)
        rc = permit_op(auth, lessor, who, req->success[i]);
    for (size_t i = 0; i < req->n_failure && rc == 0; i++)
        rc = permit_op(auth, lessor, who, req->failure[i]);
    return rc;
}

struct lease_permit {
    struct auth *auth;
    const struct auth_who *who;
    bool write;
};

static int permit_key(void *arg, struct bytes key)
{
    const struct lease_permit *p = arg;
    struct bytes end = {NULL, 0};

    return p->write ? auth_may_write(p->auth, p->who, key, end)
                    : auth_may_read(p->auth, p->who, key, end);
}

int apply_permit_lease(struct auth *auth, const struct lessor *lessor,
                       const struct auth_who *who, int64_t id, bool write)
{
    struct lease_permit p = {auth, who, write};
    int rc;

    if (id == 0 || lessor == NULL || auth_may_manage(auth, who) == 0)
        return 0;
    rc = lessor_each_key(lessor, id, permit_key, &p);
    return rc == ERR_LEASE_NOT_FOUND ? 0 : rc;
}
