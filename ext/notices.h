// Notices of flows that have ended, for the extensions that asked for them.
#pragma once

// control thread

// At times: takes some, and has them told by the jobs thread. Nothing more is taken while that goes on.
void ext_notices_look(void);
