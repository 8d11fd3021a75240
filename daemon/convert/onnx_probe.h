/* SPDX-License-Identifier: Apache-2.0 */
/* Never compiled: the preprocessor's list of dependencies tells meson where onnx.proto is installed. */
#include <onnx/onnx.proto>
