// Keys whose values no two rows of a kind may share. Control thread.
#pragma once

#include "ctrl/api/conf.h"

// Reports every edited row of `kind` whose value of a unique key another row of the view has.
void unique_check(const struct conf_view *v, const struct conf_kind *kind, struct err *e);
