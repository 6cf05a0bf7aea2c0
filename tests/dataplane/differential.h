// I1 as a program: the same random run through flows and through the walk, compared. See differential.c.
#pragma once

// Runs it as a suite and returns main()'s status.
int differential_run(const char *name);
