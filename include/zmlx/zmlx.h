/* SPDX-License-Identifier: MIT */
/* Everything: #include <zmlx/zmlx.h>, link with `pkg-config --libs zmlx`. */
#ifndef ZMLX_ZMLX_H
#define ZMLX_ZMLX_H

#include "zmlx/base.h"
#include "zmlx/model.h"
#include "zmlx/patch.h"
#include "zmlx/run.h"
#include "zmlx/synth.h"

#endif
