/* SPDX-License-Identifier: MIT */
/* From what a user types to a folder: a path, or a Hugging Face id in the local cache.  No network. */
#ifndef ZX_CHECKPOINT_LOCATE_H
#define ZX_CHECKPOINT_LOCATE_H

#include "base/status.h"

/* `model` is a folder, or ORG/NAME[@REVISION] found under HF_HUB_CACHE, else $HF_HOME/hub, else
 * $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub (relative values of the XDG variable are ignored).
 * *out is the folder with config.json, released with zx_free.  ZMLX_E_NOT_FOUND says where it looked. */
zmlx_status zx_locate_model(char **out, const char *model, zmlx_err *err);

#endif
