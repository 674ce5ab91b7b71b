/* SPDX-License-Identifier: MIT */
/* The tests of scopes once more, with every block of memory counted, and some refused. */
#define T_COUNTED 1
#include "tests/unit/test_scope.c"
