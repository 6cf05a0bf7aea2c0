// config.show, config.check, config.apply. Control thread.
#pragma once

#include "api/module.h"

extern const struct module config_module;
