/* SPDX-License-Identifier: MIT */
/*
 * Check, but an assertion that holds costs nothing. By itself Check has each one send its place, by a
 * file, to who runs the test, so that a crash can be told from where it was; it moves 8 KiB for every one
 * it receives. A test with a million assertions then takes minutes under a sanitizer, and looks as if it
 * hung where the machine is busy. A crash is told by the sanitizer or a core instead.
 */
#ifndef COP_TESTS_QUICK_CHECK_H
#define COP_TESTS_QUICK_CHECK_H

#include <check.h>

#define _mark_point(file, line) ((void)0)

#endif
