# SPDX-License-Identifier: MIT
# Macros of our own; the rest of m4/ is copied there by libtoolize.

# COP_ADD_CFLAGS(VARIABLE, FLAGS...)
# Appends to VARIABLE each flag that the compiler takes. The probe runs with
# -Werror, because clang only warns about a flag that it does not know.
AC_DEFUN([COP_ADD_CFLAGS], [
  AC_LANG_PUSH([C])
  for cop_flag in m4_normalize([$2]); do
    AC_MSG_CHECKING([whether $CC takes $cop_flag])
    cop_saved_cflags=$CFLAGS
    CFLAGS="$CFLAGS -Werror $cop_flag"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])],
      [AC_MSG_RESULT([yes]); AS_VAR_APPEND([$1], [" $cop_flag"])],
      [AC_MSG_RESULT([no])])
    CFLAGS=$cop_saved_cflags
  done
  AC_LANG_POP([C])
])

# COP_ADD_LDFLAGS(VARIABLE, FLAGS...)
AC_DEFUN([COP_ADD_LDFLAGS], [
  AC_LANG_PUSH([C])
  for cop_flag in m4_normalize([$2]); do
    AC_MSG_CHECKING([whether the linker takes $cop_flag])
    cop_saved_ldflags=$LDFLAGS
    LDFLAGS="$LDFLAGS $cop_flag"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
      [AC_MSG_RESULT([yes]); AS_VAR_APPEND([$1], [" $cop_flag"])],
      [AC_MSG_RESULT([no])])
    LDFLAGS=$cop_saved_ldflags
  done
  AC_LANG_POP([C])
])

# COP_SWITCH(NAME, HELP, [IF-YES])
# A switch that is off unless --enable-NAME is given; sets enable_NAME to yes
# or no and the Automake conditional ENABLE_NAME is left to the caller.
AC_DEFUN([COP_SWITCH], [
  AC_ARG_ENABLE([$1], [AS_HELP_STRING([--enable-$1], [$2])],
    [AS_CASE([$enableval], [yes|no], [],
      [AC_MSG_ERROR([--enable-$1 takes no value but yes or no])])],
    [AS_VAR_SET([enable_]m4_translit([$1], [-], [_]), [no])])
  AS_VAR_IF([enable_]m4_translit([$1], [-], [_]), [yes], [$3])
])

# COP_PEER(VARIABLE, MODULES)
# A system that the benchmarks compare with. Never required: sets have_VARIABLE,
# defines COP_BENCH_VARIABLE for bench/ when it is there.
AC_DEFUN([COP_PEER], [
  PKG_CHECK_MODULES([$1], [$2], [have_$1=yes], [have_$1=no])
  AS_IF([test "$have_$1" = yes], [
    AS_VAR_APPEND([BENCH_CPPFLAGS], [" -DCOP_BENCH_$1=1 $[$1]_CFLAGS"])
    AS_VAR_APPEND([BENCH_LIBS], [" $[$1]_LIBS"])
  ])
])
