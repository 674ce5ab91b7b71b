/* SPDX-License-Identifier: MIT */
/*
 * Preconditions of a transaction. Each is looked at in the version that the transaction reads, so
 * that a failed one can be named, and added as a condition of the commit.
 */
#include "http/operations.h"

#include <string.h>

struct condition {
    cop_txn *txn;
    const char *path;
    size_t length;
    cop_atom atom;
    bool present;
    struct cop__problem *problem;
};

static cop_status
failed(const struct condition *c, cop_status status, const cop_error *error)
{
    cop__problem_reading(c->problem, status, error);
    return status;
}

static cop_status
not_so(const struct condition *c, const char *what)
{
    cop__problem_set(c->problem, COP_PROBLEM_PRECONDITION, "%s", what);
    return COP_E_STATE;
}

static cop_status
malformed(const struct condition *c)
{
    cop__problem_set(c->problem, COP_PROBLEM_REQUEST,
                     "a precondition is a path with a value, absent (true or false) or "
                     "unchanged_since (a version)");
    return COP_E_INVALID;
}

static cop_status
require_absent(const struct condition *c, bool absent)
{
    if (c->present == absent)
        return not_so(c, absent ? "something is at this path" : "nothing is at this path");
    return COP_OK; /* finding it, or not, is the condition */
}

static cop_status
require_value(const struct condition *c, const json_t *json)
{
    cop_value wanted, value;
    if (!cop__scalar_of(json, &wanted, c->problem))
        return COP_E_INVALID;
    cop_status status = c->present ? cop_txn_get(c->txn, c->atom, &value) : COP_E_ABSENT;
    bool equal = status == COP_OK && cop_value_equal(&wanted, &value);
    cop_value_free(&wanted);
    if (status != COP_OK && c->present)
        return failed(c, status, NULL);
    return equal ? COP_OK
                 : not_so(c, c->present ? "the value is another one" : "nothing is at this path");
}

static cop_status
require_unchanged(const struct condition *c, const json_t *json)
{
    const cop_snapshot *snapshot;
    uint64_t changed;
    if (!json_is_integer(json) || json_integer_value(json) < 0)
        return malformed(c);
    if (!c->present)
        return not_so(c, "nothing is at this path");
    cop_status status = cop_txn_snapshot(c->txn, &snapshot);
    if (status == COP_OK)
        status = cop_changed(snapshot, c->atom, &changed);
    if (status == COP_E_NOT_BRANCH) {
        cop__problem_set(c->problem, COP_PROBLEM_REQUEST,
                         "unchanged_since is for branches: give the value instead");
        return COP_E_INVALID;
    }
    uint64_t since = (uint64_t)json_integer_value(json);
    if (status == COP_OK && changed > since)
        return not_so(c, "the branch has changed");
    if (status == COP_OK)
        status = cop_txn_require_unchanged(c->txn, c->atom, since);
    return status == COP_OK ? COP_OK : failed(c, status, NULL);
}

static cop_status
find(struct condition *c)
{
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_txn_find(c->txn, c->path, c->length, &c->atom, &error);
    c->present = status == COP_OK;
    return status == COP_OK || status == COP_E_ABSENT ? COP_OK : failed(c, status, &error);
}

cop_status
cop__precondition_add(cop_txn *txn, const json_t *json, struct cop__problem *problem)
{
    static const char *const members[] = {"path", "value", "absent", "unchanged_since", NULL};
    struct condition c = {.txn = txn, .problem = problem};
    const json_t *value = json_object_get(json, "value");
    const json_t *absent = json_object_get(json, "absent");
    const json_t *since = json_object_get(json, "unchanged_since");
    if (!cop__members_known(json, members, problem) ||
        !cop__member_path(json, "path", &c.path, &c.length, problem))
        return COP_E_INVALID;
    if (!value + !absent + !since != 2 || (absent && !json_is_boolean(absent)))
        return malformed(&c);
    cop_status status = find(&c);
    if (status != COP_OK)
        return status;
    if (absent)
        return require_absent(&c, json_is_true(absent));
    return value ? require_value(&c, value) : require_unchanged(&c, since);
}
